"""Nothing is half visible: while instances are being stored, search, metadata, counts and retrieve agree."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.support.archive import RunningArchive
from tests.support.dicomweb import Client, first
from tests.support.ledger import Ledger, Oracle
from tests.support.samples import new_sample, new_uid

INSTANCES = 150
PAUSE_SECONDS = 1.0
SERIES = "0020000E"
STUDY_COUNTS = ("00201206", "00201208")


def test_G04_an_instance_appears_with_bytes_metadata_and_counts(
    battered: RunningArchive, ledger: Ledger, oracle: Oracle
) -> None:
    battered.wait_ready()
    study = new_uid()
    samples = [new_sample(study, f"{study}.{number % 3}") for number in range(INSTANCES)]
    writer = threading.Thread(target=lambda: [ledger.store(Client(battered.port), sample) for sample in samples])
    writer.start()
    client, looks = Client(battered.port), 0
    while writer.is_alive() or not looks:
        before = client.search(f"/studies?StudyInstanceUID={study}&includefield=all")
        instances = client.search(f"/studies/{study}/instances")
        files = client.retrieve_study(study)
        metadata = client.metadata(study)
        after = client.search(f"/studies?StudyInstanceUID={study}&includefield=all")
        if not before:
            continue
        looks += 1
        counts = [first(before[0], STUDY_COUNTS[1]), len(instances), len(files), len(metadata)]
        counts.append(first(after[0], STUDY_COUNTS[1]))
        assert counts == sorted(counts)
        assert set(files) <= {sample.encode() for sample in samples}
        series = {first(instance, SERIES) for instance in instances}
        assert first(before[0], STUDY_COUNTS[0]) <= len(series) <= first(after[0], STUDY_COUNTS[0])
    writer.join()
    assert looks > 3
    oracle.check()


def test_G04_nothing_is_visible_before_the_commit_and_all_of_it_after(
    battered: RunningArchive, ledger: Ledger, oracle: Oracle, failpoint_file: Path
) -> None:
    battered.wait_ready()
    sample, client = new_sample(), Client(battered.port)
    failpoint_file.write_text(f"store.committing=sleep:{PAUSE_SECONDS * 1000:.0f}")
    begun = time.monotonic()
    writer = threading.Thread(target=lambda: ledger.store(Client(battered.port), sample))
    writer.start()
    while failpoint_file.exists():
        assert writer.is_alive()
    found = client.search(f"/instances?SOPInstanceUID={sample.sop}")
    found += client.search(f"/studies?StudyInstanceUID={sample.study}")
    in_time = time.monotonic() < begun + PAUSE_SECONDS  # not so when the client met the worker that waits
    assert not (found and in_time)
    writer.join()
    assert client.retrieve(sample.path) == (200, sample.encode())
    oracle.check_instances([sample])
