"""Table: what is left out of the viewer's build and what is written anew, so that it runs below `/viewer/`, loads
nothing from another host and takes no address of a data source from a link. Each rule counts what it replaced: a build
of another shape fails here and not in front of a reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = "/viewer/"
"""Where the pages live; `app.ui.viewer` serves them there."""

LEFT_OUT = re.compile(
    r"ort/.*"  # 136 MB of inference for three brush tools, which would load their models from other hosts
    r"|.*\.map"
    r"|app-config\.js"  # made by the archive
    r"|customizations/.*|google\.js|oidc-client\.min\.js|silent-refresh\.html"  # of log-ins that we do not offer
    r"|polyfill\.min\.js|es6-shim\.min\.js"  # loaded by nothing
    r"|sw\.js|init-service-worker\.js|_headers|_redirects|serve\.json|assets/browserconfig\.xml|assets/manifest\.webapp|assets/yandex-.*"
)

_CODECS = r"(app|8097)\.bundle\..*\.js"
_NAMED = '{[name]:function(){"use strict";return body.apply(this,arguments)}}[name]'
_INVOKER = (
    'function(){if(arguments.length!==argCount-2){throwBindingError("function "+humanName+" called with "'
    '+arguments.length+" arguments, expected "+(argCount-2)+" args!")}'
    "var stack=needsDestructorStack?[]:null,wired=[cppTargetFunc],from=isClassMethodFunc?1:2;"
    "for(var k=from;k<argTypes.length;++k){wired.push(argTypes[k].toWireType(stack,k===1?this:arguments[k-2]))}"
    "var rv=cppInvokerFunc.apply(null,wired);"
    "if(needsDestructorStack){runDestructors(stack)}else{for(var k=from;k<argTypes.length;++k)"
    "{if(argTypes[k].destructorFunction!==null){argTypes[k].destructorFunction(wired[k-from+1])}}}"
    "if(returns){return argTypes[0].fromWireType(rv)}}"
)
"""The codecs' glue makes functions from text, which the page's policy forbids: the same as closures."""
_VIEW = Path(__file__).with_name("ndarray_view.js").read_text()


class Rule(NamedTuple):
    """In every file whose name `files` matches, `old` becomes `new`, in the order of the table; `{base}` is the folder
    of this build below ROOT. `times` is how often it must be found in all of them together, 0 any number of
    times but never."""

    files: str
    old: str
    new: str
    times: int


RULES = (
    Rule(r".*\.js", '__webpack_require__.p = "/";', '__webpack_require__.p = "{base}";', 8),
    Rule(r"app\.bundle\..*\.js", "'/dicom-microscopy-viewer/", "'{base}dicom-microscopy-viewer/", 1),
    Rule(r".*\.js", "PUBLIC_LIB_URL ||= './${component}/'", "PUBLIC_LIB_URL ||= '{base}${component}/'", 1),
    Rule(r".*\.js", '"./ohif-logo.svg"', '"{base}ohif-logo.svg"', 2),
    Rule(r".*\.css", "url(/", "url({base}", 5),
    Rule(r"index\.html", 'PUBLIC_URL="/"', f'PUBLIC_URL="{ROOT}"', 2),
    Rule(r"index\.html", 'href="/', 'href="{base}', 0),
    Rule(r"index\.html", 'content="/assets/', 'content="{base}assets/', 0),
    Rule(
        r"index\.html", '<script rel="preload" as="script" type="module" src="/init-service-worker.js"></script>', "", 1
    ),
    Rule(r"index\.html", 'src="/', 'src="{base}', 0),
    Rule(r"index\.html", 'src="{base}app-config.js"', f'src="{ROOT}app-config.js"', 1),
    Rule(r"manifest\.json", '"/assets/', '"{base}assets/', 0),
    Rule(r"manifest\.json", '"./index.html"', f'"{ROOT}"', 1),
    Rule(
        _CODECS,
        """new Function("body","return function "+name+"() {\\n"+'    "use strict";'+"""
        """"    return body.apply(this, arguments);\\n"+"};\\n")(body)""",
        _NAMED,
        4,
    ),
    Rule(
        _CODECS,
        r"""new Function(
          "body",
          "return function " + name + "() {\n" +
          "    \"use strict\";" +
          "    return body.apply(this, arguments);\n" +
          "};\n"
      )(body)""",
        _NAMED,
        2,
    ),
    Rule(_CODECS, "new_(Function,args1).apply(null,args2)", _INVOKER, 4),
    Rule(_CODECS, "new_(Function, args1).apply(null, args2)", _INVOKER, 2),
    Rule(_CODECS, "newFunc(Function,args)(...closureArgs)", _INVOKER, 2),
    Rule(r"9383\.bundle\..*\.js", "function compileConstructor(dtype, dimension) {\n", _VIEW, 1),  # of segmentations
    # tools of the inference that is left out
    Rule(r"89\.bundle\..*\.js", "['LabelmapSlicePropagation', 'BrushTools', 'MarkerLabelmap', ", "['BrushTools', ", 1),
    # data sources that a link could point at any address, or at files of this machine
    Rule(
        r"89\.bundle\..*\.js",
        """  }, {
    name: 'dicomwebproxy',
    type: 'webApi',
    createDataSource: createDicomWebProxyApi
  }, {
    name: 'dicomjson',
    type: 'jsonApi',
    createDataSource: createDicomJSONApi
  }, {
    name: 'dicomlocal',
    type: 'localApi',
    createDataSource: createDicomLocalApi
  }, {
    name: 'merge',
    type: 'mergeApi',
    createDataSource: createMergeDataSourceApi
  }];""",
        "  }];",
        1,
    ),
)
