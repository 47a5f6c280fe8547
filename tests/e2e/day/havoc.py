"""What goes wrong on a bad day: everything is killed at random moments, and destinations are away for a while. The seed
of its choices is printed; FILEROOM_SEED repeats them."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import psutil

from tests.e2e.day.department import Department

Deed = Callable[[], None]


def new_seed() -> int:
    """Of one bad day."""
    seed = int(os.environ.get("FILEROOM_SEED") or random.randrange(1 << 30))
    print(f"FILEROOM_SEED={seed}")
    return seed


class Havoc:
    """Of one department. `done` names what was done, and when."""

    def __init__(self, department: Department, seed: int) -> None:
        self._department = department
        self._chance = random.Random(seed)
        self._deeds: dict[str, Deed] = {
            "a worker is killed": lambda: self._kill_child("fileroom-1", "fileroom-2"),
            "the jobs are killed": lambda: self._kill_child("fileroom-jobs"),
            "the bridge is killed": lambda: self._kill_child("fileroom-dimse"),
            "a process of the bridge is killed": lambda: self._kill_child("fileroom-dimse1", "fileroom-dimse2"),
            "the database is killed": self._kill_postmaster,
            "the archive is killed": self._kill_archive,
            "the second archive is away": self._second_is_away,
            "Orthanc is away": self._orthanc_is_away,
        }
        self._is_over = threading.Event()
        self.done: list[str] = []

    @contextmanager
    def raging(self, rounds: int) -> Iterator[None]:
        """Does every deed `rounds` times in random order, while the body runs and until all are done."""
        deeds = [name for _ in range(rounds) for name in self._chance.sample(list(self._deeds), len(self._deeds))]
        with ThreadPoolExecutor(1) as outside:
            ended = outside.submit(self._rage, deeds)
            try:
                yield
            except BaseException:
                self._is_over.set()
                raise
            finally:
                wait([ended])
                print("\n".join(self.done))
            ended.result()
        self._department.archive.wait_ready()

    def _rage(self, deeds: list[str]) -> None:
        for name in deeds:
            if self._is_over.wait(self._chance.uniform(0.1, 1.2)):
                return
            self.done.append(f"{time.strftime('%H:%M:%S')} {name}")
            self._deeds[name]()

    def _kill_child(self, *names: str) -> None:
        """Kills a process of the archive by its name, when it is there now."""
        try:
            parent = psutil.Process(self._department.archive.pid)
            found = [child for child in parent.children(recursive=True) if child.name() in names]
            if found:
                self._chance.choice(found).send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return

    def _kill_postmaster(self) -> None:
        try:
            os.kill(self._department.archive.postmaster(), signal.SIGKILL)
        except (OSError, ValueError, IndexError):  # it is down, or coming up, already
            return

    def _kill_archive(self) -> None:
        self._department.archive.kill()
        self._department.archive.start()

    def _second_is_away(self) -> None:
        self._department.second.kill()
        self._is_over.wait(self._chance.uniform(0.2, 2))
        self._department.second.start()

    def _orthanc_is_away(self) -> None:
        self._department.orthanc.kill()
        self._is_over.wait(self._chance.uniform(0.2, 2))
        self._department.orthanc.start()
