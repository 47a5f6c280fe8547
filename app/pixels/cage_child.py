"""The caged side. A zygote imports the codecs once and then only forks: a child that crashed or was killed is replaced
within milliseconds, and all share their memory. A child may open no descriptor at all, so neither files nor the network
are within reach; address space, CPU time and output are bounded. It takes one job after the other: arguments as a JSON
message, payload and answer in memory that it shares with the archive (`app.pixels.shared`)."""

from __future__ import annotations

import ctypes
import gc
import importlib
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from app.errors import FileroomError
from app.pixels import shared

Buffer = bytes | bytearray | memoryview
Task = Callable[[dict[str, Any], memoryview], Buffer | Sequence[Buffer]]
"""The payload is overwritten by the next job."""

MESSAGE = 64 << 10
"""Longest message, in bytes."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PAGE = 4096
_libc = ctypes.CDLL(None)


def zygote(control: socket.socket, tasks: Mapping[str, Task]) -> None:
    """Forks a child for each message that brings a socket and a memory file, until the archive is gone. The message is
    the child's limits; the answer is a descriptor of the child (pidfd), empty when none could be made."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE, 2)
        if not message:
            return
        parent = os.getpid()
        child = os.fork()
        if not child:
            control.close()
            _run_child(parent, tasks, orjson.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            handle = os.pidfd_open(child)
        except OSError:
            control.send(b"gone")
            continue
        socket.send_fds(control, [b"forked"], [handle])
        os.close(handle)


def _run_child(parent: int, tasks: Mapping[str, Task], limits: dict[str, int], link: int, memory: int) -> None:
    """The whole life of a child."""
    status = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if os.getppid() == parent:
            with socket.socket(fileno=link) as connection, shared.mapped(memory) as frames:
                os.close(memory)
                cage(limits)
                work(connection, tasks, frames, limits["cpu"])
        status = 0
    finally:
        os._exit(status)


def cage(limits: dict[str, int]) -> None:
    """No new descriptors or processes, bounded memory, no growing or core file."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for kind, limit in (
        (resource.RLIMIT_AS, used + limits["memory"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def work(connection: socket.socket, tasks: Mapping[str, Task], memory: mmap.mmap, cpu: int) -> None:
    """One job after the other, until the archive closes the connection."""
    while message := connection.recv(MESSAGE):
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + cpu + 1, resource.RLIM_INFINITY))
        job = orjson.loads(message)
        connection.send(orjson.dumps({"job": job["job"], **_answer(tasks, job, memoryview(memory))}))


def _answer(tasks: Mapping[str, Task], job: dict[str, Any], memory: memoryview) -> dict[str, Any]:
    """Does the job; what came of it stands in the shared memory, behind the payload."""
    end = job["at"] + job["length"]
    try:
        given = tasks[job["task"]](job["arguments"], memory[job["at"] : end])
        at = -(-end // _PAGE) * _PAGE
        pieces = [given] if isinstance(given, bytes | bytearray | memoryview) else given
        return {"at": at, "length": _write(memory[at:], pieces)}
    except MemoryError:
        return {"error": "memory", "detail": ""}
    except FileroomError as error:
        return {"error": type(error).__name__, "detail": error.detail, "extra": error.extra}
    except Exception as error:  # noqa: BLE001 - a codec may raise what it likes; the child must go on
        return {"error": "bug", "detail": f"{type(error).__name__}: {error}"[:500]}


def _write(memory: memoryview, pieces: Sequence[Buffer]) -> int:
    at = 0
    for piece in pieces:
        view = memoryview(piece).cast("B")
        if len(view) > len(memory) - at:
            raise MemoryError
        memory[at : at + len(view)] = view
        at += len(view)
    return at


def main() -> None:
    """Runs on the descriptor that the first argument names, with the tasks of the module that the third names."""
    with socket.socket(fileno=int(sys.argv[1])) as control:
        zygote(control, importlib.import_module(sys.argv[3]).TASKS)
