"""System calls of running processes, as strace tells them: in the order in which they returned."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TRACED = "fsync,fdatasync,sync_file_range,mkdir,openat,write,writev,sendto,sendmsg,sendmmsg,pwrite64"
_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)", re.DOTALL)
_DESCRIPTOR = re.compile(r"^\d+<(.*?)>(?=[,)\s]|$)")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call. `place` is what its first descriptor was open on; `text` all of its arguments and its result."""

    name: str
    place: str
    text: str

    @property
    def failed(self) -> bool:
        """Whether it returned an error."""
        return " = -1 " in self.text


@contextmanager
def traced(pids: list[int], log: Path) -> Iterator[list[Call]]:
    """Traces processes with all their threads while the block runs; the list is filled when it ends."""
    strace = shutil.which("strace")
    assert strace is not None, "strace is not installed"
    command = [strace, "-f", "-q", "-yy", "-s", "1200", "-e", f"trace={_TRACED}", "-e", "signal=none", "-o", str(log)]
    for pid in pids:
        command += ["-p", str(pid)]
    calls: list[Call] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        try:
            _wait_attached(tracer, pids)
            yield calls
        finally:
            tracer.terminate()
            tracer.wait(10)
    calls += _parse(log.read_text(errors="replace").splitlines())


def _wait_attached(tracer: subprocess.Popen[bytes], pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while not all(_is_traced(thread) for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()):
        assert tracer.poll() is None, tracer.stderr and tracer.stderr.read().decode()
        assert time.monotonic() < deadline, "strace does not attach"
        time.sleep(0.01)


def _is_traced(thread: Path) -> bool:
    return "TracerPid:\t0\n" not in (thread / "status").read_text()


def _parse(lines: list[str]) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        thread, name, rest = match.groups()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>")
            continue
        if "resumed>" in line.split("(", 1)[0] or "<... " in line[:40]:
            rest = begun.pop(thread, "") + rest
        place = _DESCRIPTOR.match(rest)
        yield Call(name, place[1] if place else "", rest)
