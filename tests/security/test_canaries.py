"""Patient data that goes through the archive in every way leaves no trace in logs, metrics, health and errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.archive import ROOT, start_archive
from tests.support.small_files import data_set, encode, path_of

CANARIES = ("CANARYSON", "CNR-4711-XYZZY", "19470811", "MRN0815CANARY")


def test_G33_canaries_stay_in_answers_to_searches(database_url: str, tmp_path: Path) -> None:
    ds = data_set()
    ds.PatientName, ds.AccessionNumber, ds.PatientBirthDate, ds.PatientID = CANARIES[0] + "^Pat", *CANARIES[1:]
    file, dicom = encode(ds), {"Content-Type": "application/dicom"}
    running = start_archive(
        tmp_path / "data", FILEROOM_DATABASE_URL=database_url, FILEROOM_LOG_LEVEL="debug", FILEROOM_LOG_FORMAT="json"
    )
    try:
        with httpx.Client(base_url=running.root, timeout=30) as client:
            assert client.post("/studies", content=file, headers=dicom).status_code == 200
            found = client.get("/studies", params={"PatientName": CANARIES[0] + "*"})
            assert CANARIES[0] in found.text, "searches answer with it"
            quiet = [
                client.post("/studies", content=file, headers=dicom),
                client.post("/studies", content=file[: len(file) // 2], headers=dicom),
                client.post("/studies", content=b"DICM" + CANARIES[0].encode() * 50, headers=dicom),
                client.post("/studies/1.2.3", content=file, headers=dicom),
                client.get("/studies", params={"PatientBirthDate": CANARIES[0]}),
                client.get("/studies", params={"nonsense": CANARIES[0], "limit": CANARIES[1]}),
                client.get(f"/studies/{CANARIES[0]}/metadata"),
                client.get(f"/{CANARIES[0]}", headers={"X-Request-ID": CANARIES[0]}),
                client.get(path_of(ds), headers={"Accept": f"application/{CANARIES[0]}"}),
                client.get(f"{path_of(ds)}/frames/{CANARIES[1]}"),
                client.delete(path_of(ds)),
                client.get(path_of(ds)),
                client.get(f"{running.url}/metrics"),
                client.get(f"{running.url}/readyz"),
            ]
        for answer in quiet:
            shown = answer.text + str(answer.headers)
            assert not [canary for canary in CANARIES if canary in shown], (str(answer.request.url), shown)
    finally:
        running.stop()
    assert "answered" in running.log, "requests were logged"
    for secret in (*CANARIES, ds.StudyInstanceUID, ds.SOPInstanceUID):
        assert secret not in running.log


def test_tokens_are_made_shown_once_and_revoked(database_url: str, tmp_path: Path) -> None:
    def token(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli", "token", *words],
            cwd=ROOT,
            env={"PATH": "", "FILEROOM_DATABASE_URL": database_url, "FILEROOM_DATA": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    made = token("create", "ct-2", "--scope", "read", "--scope", "write")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith("frm_")
    assert token("create", "ct-2", "--scope", "read").returncode == 1, "a name is used once"
    assert token("create", "ct-3").returncode == 2, "a token without scopes is of no use"
    assert token("create", "c t", "--scope", "read").returncode == 2
    listed = token("list").stdout
    assert "ct-2" in listed
    assert "read,write" in listed
    assert secret not in listed
    assert token("revoke", "ct-2").returncode == 0
    assert token("revoke", "ct-2").returncode == 1
    assert "revoked" in token("list").stdout
