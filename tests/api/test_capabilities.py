"""Retrieve Capabilities (PS3.18 8.9): the description names what is there, and nothing else."""

from __future__ import annotations

from xml.etree import ElementTree

import httpx
import pytest

from tests.support.archive import RunningArchive

NAMESPACE = {"w": "http://wadl.dev.java.net/2009/02"}


@pytest.fixture(scope="module")
def wadl(archive: RunningArchive) -> ElementTree.Element:
    answer = httpx.request("OPTIONS", archive.root + "/", headers={"Accept": "application/vnd.sun.wadl+xml"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.sun.wadl+xml"
    return ElementTree.fromstring(answer.text)


def methods(wadl: ElementTree.Element, *steps: str) -> set[str]:
    """The methods of the resource at these steps."""
    path = "".join(f"/w:resource[@path='{step}']" for step in steps)
    return {found.get("name", "") for found in wadl.findall(f"w:resources{path}/w:method", NAMESPACE)}


def test_the_base_is_the_address_of_the_service(archive: RunningArchive, wadl: ElementTree.Element) -> None:
    assert [found.get("base") for found in wadl.findall("w:resources", NAMESPACE)] == [archive.root]


def test_it_names_the_transactions_of_table_h_1(wadl: ElementTree.Element) -> None:
    assert methods(wadl, "studies") >= {"GET", "POST"}
    assert methods(wadl, "studies", "{study}") >= {"GET", "POST"}
    series = ("studies", "{study}", "series", "{series}")
    assert methods(wadl, *series, "metadata") == {"GET"}
    assert methods(wadl, *series, "instances", "{instance}", "frames", "{frames}") == {"GET"}
    assert methods(wadl, "instances") == {"GET"}


def test_a_search_names_its_parameters(wadl: ElementTree.Element) -> None:
    search = wadl.find("w:resources/w:resource[@path='studies']/w:method[@name='GET']/w:request", NAMESPACE)
    assert search is not None
    names = {parameter.get("name") for parameter in search.findall("w:param[@style='query']", NAMESPACE)}
    assert {"PatientName", "StudyDate", "ModalitiesInStudy", "includefield", "limit", "offset"} <= names


@pytest.mark.parametrize("path", ["", "/studies", "/studies/1.2.3/metadata"])
def test_every_resource_describes_itself(archive: RunningArchive, path: str) -> None:
    answer = httpx.request("OPTIONS", archive.root + path, headers={"Accept": "application/json"})
    assert answer.status_code == 200
    document = answer.json()
    assert document["servers"] == [{"url": archive.url}]
    assert all(name.startswith("/dicom-web" + path.replace("1.2.3", "{study}")) for name in document["paths"])
    assert "OPTIONS" in answer.headers["allow"]
    assert ("GET" in answer.headers["allow"]) == bool(path)


def test_what_is_not_there_has_no_description(archive: RunningArchive) -> None:
    assert httpx.request("OPTIONS", archive.root + "/nothing").status_code == 404
    assert httpx.get(archive.root + "/nothing").status_code == 404


def test_another_representation_is_not_acceptable(archive: RunningArchive) -> None:
    answer = httpx.request("OPTIONS", archive.root + "/", headers={"Accept": "image/png"})
    assert answer.status_code == 406
