"""`app-config.js` of OHIF: what this archive tells the viewer. One data source, whose addresses are paths of the page's
own origin: nothing in a link can make the viewer send requests, or credentials, elsewhere (G34)."""

from __future__ import annotations

import json
from typing import Any

BASENAME = "/viewer"
_SOURCE = "archive"


def configuration(dicomweb: str) -> dict[str, Any]:
    """OHIF's configuration for the DICOMweb root at the path `dicomweb`."""
    return {
        "routerBasename": BASENAME,
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": True,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True,
        "investigationalUseDialog": {"option": "never"},
        "showErrorDetails": "always",
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 4},
        "defaultDataSourceName": _SOURCE,
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": _SOURCE,
                "configuration": _source(dicomweb),
            }
        ],
    }


def _source(dicomweb: str) -> dict[str, Any]:
    return {
        "friendlyName": "Fileroom",
        "name": _SOURCE,
        "qidoRoot": dicomweb,
        "wadoRoot": dicomweb,
        "wadoUriRoot": dicomweb,
        "qidoSupportsIncludeField": True,
        "supportsFuzzyMatching": True,
        "supportsWildcard": True,
        "supportsReject": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "dicomUploadEnabled": True,
        "omitQuotationForMultipartRequest": True,
        "singlepart": "bulkdata,video,pdf",
        "bulkDataURI": {"enabled": True},
    }


def script(dicomweb: str) -> bytes:
    """The file itself."""
    return f"window.config = {json.dumps(configuration(dicomweb), indent=1)};\n".encode()
