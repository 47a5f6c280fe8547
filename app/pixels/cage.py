"""Our side of the cage (G32): a zygote process, started when the first job comes, and the children that it forks. A job
that crashes its child, takes too long or too much memory costs that one request; so does one whose caller is gone.

Jobs and answers lie in memory that a child shares with us (`app.pixels.shared`): a stored frame is read from its file
straight to where the child decodes it. Only small messages pass through the event loop. What a child puts there is
bytes to us and nothing else, and copied before it is used."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

from app import errors
from app.dicom.octets import Piece
from app.errors import DecoderFailed, FileroomError, LimitExceeded, Overloaded
from app.pixels import shared
from app.pixels.shared import PAYLOAD, SIZE

_T = TypeVar("_T")


class Source(Protocol):
    """A payload that is read to where the child looks for it: `length` bytes from `start` of `room` bytes."""

    @property
    def room(self) -> int:
        """Bytes that `read_into` writes."""

    @property
    def start(self) -> int:
        """Where the payload begins among them."""

    @property
    def length(self) -> int:
        """Bytes of the payload."""

    async def read_into(self, room: memoryview) -> None:
        """Reads; when it is cancelled, it may go on writing to `room`."""


Payload = Piece | bytearray | Sequence[Piece] | Source

_ROOT = Path(__file__).resolve().parents[2]
_START = "import sys; sys.path.append(sys.argv[2]); from app.pixels.cage_child import main; main()"
_TASKS = "app.pixels.tasks"
_START_SECONDS = 60.0
_MESSAGE = 64 << 10
_KEPT = 16 << 20
"""Memory that stays with a child between jobs."""
_AT_ONCE = 1 << 20
"""Bytes that are copied without leaving the event loop."""
_ALIGNED = 64
"""What the codecs' fastest instructions like the address of a frame to be a multiple of."""
_HEAP = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(32 << 20)}
"""The C library gives the memory of each frame back at once, and takes it again page by page for the next: half of the
time of a small job. Children keep up to this much."""
_JOBS = 5000
"""Jobs of one child; then a fresh one takes its place."""


@dataclass(frozen=True, slots=True)
class CageLimits:
    """What one child may use. `seconds` is wall time of one job, `cpu` seconds of CPU time, `memory` bytes of address
    space beyond what the codecs themselves take; `waiting` jobs may wait for a child."""

    children: int = 2
    seconds: float = 60.0
    cpu: int = 30
    memory: int = 2 << 30
    waiting: int = 512


class _Child:
    """One forked process. `handle` is its pidfd, `memory` the file that it shares with us."""

    def __init__(self, connection: socket.socket, memory: int, handle: int) -> None:
        self.connection = connection
        self.memory = memory
        self.mapped = shared.mapped(memory)
        self.handle = handle
        self.jobs = 0

    def end(self) -> None:
        """Kills it, whatever it does."""
        try:
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.connection.close()
        with suppress(BufferError):  # a thread still reads into it: it goes when that ends
            self.mapped.close()
        os.close(self.memory)
        os.close(self.handle)


class Cage:
    """The children of one process and event loop. `tasks` names the module of what they can be asked to do."""

    def __init__(self, limits: CageLimits | None = None, tasks: str = _TASKS) -> None:
        self._tasks = tasks
        self.limits = limits or CageLimits()
        self._idle: list[_Child] = []
        self._places = asyncio.Semaphore(self.limits.children)
        self._starting = asyncio.Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._under_way = 0

    async def run(
        self,
        task: str,
        arguments: Mapping[str, Any],
        payload: Payload = b"",
        tail: bytes = b"",
        *,
        seconds: float | None = None,
    ) -> bytes:
        """What `TASKS[task]` of the module makes of the payload, with `tail` behind it. Raises what the task raises of
        `app.errors`, `DecoderFailed` when the child crashed or used up its limits, `Overloaded` when too many jobs
        wait."""
        if self._under_way >= self.limits.children + self.limits.waiting:
            raise Overloaded("too many pictures are waiting to be decoded")
        pieces = [payload] if isinstance(payload, bytes | bytearray | memoryview) else payload
        room = sum(map(len, pieces)) if isinstance(pieces, Sequence) else pieces.room
        if room + len(tail) > PAYLOAD:
            raise LimitExceeded("frame_pixels", f"a compressed frame of more than {PAYLOAD} bytes is not decoded")
        self._under_way += 1
        try:
            async with self._places:
                job = {"task": task, "arguments": dict(arguments)}
                return await self._run_in_child(job, pieces, tail, seconds or self.limits.seconds)
        finally:
            self._under_way -= 1

    async def _run_in_child(
        self, job: dict[str, Any], payload: Sequence[Piece | bytearray] | Source, tail: bytes, seconds: float
    ) -> bytes:
        child = self._take() or await self._fork()
        healthy = False
        try:
            job["at"], job["length"] = await _fill(child, payload, tail)
            answer = await self._converse(child, job, seconds)
            if "length" in answer:
                at, length = answer["at"], answer["length"]
                result = await _move(length, lambda: _read(child.memory, at, length))
                healthy = child.jobs < _JOBS
                if at + length > _KEPT:
                    shared.clear(child.mapped)
                return result
            healthy = answer["error"] != "memory"
        finally:
            if healthy:
                self._idle.append(child)
            else:
                child.end()
        raise _error(answer)

    def _take(self) -> _Child | None:
        """A child that waits; one that has ended, or said something without being asked, is none."""
        while self._idle:
            child = self._idle.pop()
            if not _has_message(child.connection):
                return child
            child.end()
        return None

    async def _converse(self, child: _Child, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        child.jobs += 1
        began = time.monotonic()
        try:
            child.connection.send(orjson.dumps(job | {"job": child.jobs}))
            await _readable(child.connection, seconds)
            message = child.connection.recv(_MESSAGE)
        except TimeoutError:
            raise DecoderFailed("the decoder took too long", extra={"cause": "time"}) from None
        except OSError:
            message = b""
        if not message:
            cause = "time" if time.monotonic() - began >= self.limits.cpu else "crash"
            raise DecoderFailed("the decoder crashed" if cause == "crash" else "the decoder took too long",
                                extra={"cause": cause})  # fmt: skip
        return _checked(message, child.jobs)

    async def _fork(self) -> _Child:
        """A new child; a zygote is started when there is none, or when it has died."""
        async with self._starting:
            try:
                return await self._forked(self._control or await self._start())
            except OSError:
                self._stop()
            try:
                return await self._forked(await self._start())
            except OSError as error:
                raise DecoderFailed("no decoder can be started", extra={"cause": "start"}) from error

    async def _forked(self, control: socket.socket) -> _Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        memory = shared.make()
        try:
            with theirs:
                limits = orjson.dumps({"memory": self.limits.memory, "cpu": self.limits.cpu})
                socket.send_fds(control, [limits], [theirs.fileno(), memory])
            await _readable(control, _START_SECONDS)
            return _Child(ours, memory, _received_handle(control))
        except BaseException:
            self._stop()
            ours.close()
            os.close(memory)
            raise

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {"LANG": "C", "PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} | _HEAP
        environment |= {name: value for name, value in os.environ.items() if name == "OPENBLAS_CORETYPE"}
        ours.setblocking(False)
        self._control = ours
        with theirs:
            self._zygote = subprocess.Popen(  # noqa: ASYNC220 - it returns at once, and asyncio's would cost a watcher
                [sys.executable, "-I", "-c", _START, str(theirs.fileno()), str(_ROOT), self._tasks],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        try:
            await _readable(ours, _START_SECONDS)
            if not ours.recv(_MESSAGE):
                raise DecoderFailed("the decoders cannot be loaded", extra={"cause": "start"})
        except BaseException:
            self._stop()
            raise
        return ours

    def _stop(self) -> None:
        """Ends the zygote, and with it every child."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
            self._zygote = None

    def close(self) -> None:
        """Ends all processes; jobs under way fail."""
        for child in self._idle:
            child.end()
        self._idle.clear()
        self._stop()


def _received_handle(control: socket.socket) -> int:
    _, handles, _, _ = socket.recv_fds(control, _MESSAGE, 1)
    if not handles:
        raise ConnectionError("the zygote sent no process")
    os.set_inheritable(handles[0], False)
    return handles[0]


def _checked(message: bytes, job: int) -> dict[str, Any]:
    """The answer to a job. The child may have been taken over by what it decoded, or tell of another job."""
    try:
        answer = orjson.loads(message)
    except orjson.JSONDecodeError:
        answer = None
    if isinstance(answer, dict) and answer.get("job") == job:
        at, length = answer.get("at"), answer.get("length")
        if isinstance(answer.get("error"), str):
            return answer
        if isinstance(at, int) and isinstance(length, int) and 0 <= at <= at + length <= SIZE:
            return answer
    raise DecoderFailed("the decoder answered nonsense", extra={"cause": "crash"})


def _error(answer: dict[str, Any]) -> FileroomError:
    kind, detail, extra = answer["error"], str(answer.get("detail", "")), answer.get("extra", {})
    if kind == "memory":
        return DecoderFailed("the decoder needed too much memory", extra={"cause": "memory"})
    if kind == "LimitExceeded":
        return LimitExceeded(str(extra.get("limit", "")), detail)
    cls = getattr(errors, kind, None)
    if isinstance(cls, type) and issubclass(cls, FileroomError):
        return cls(detail)
    return DecoderFailed("the decoder failed", extra={"cause": "bug", "what": detail})


def _has_message(connection: socket.socket) -> bool:
    """Whether there is something to receive, the end included."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


async def _readable(connection: socket.socket, seconds: float) -> None:
    """Returns when there is something to receive; raises TimeoutError."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection.fileno(), _settle, ready)
    try:
        async with asyncio.timeout(seconds):
            await ready
    finally:
        loop.remove_reader(connection.fileno())


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _move(length: int, copy: Callable[[], _T]) -> _T:
    """Copies at once, or in a thread when there is much to copy."""
    return copy() if length <= _AT_ONCE else await asyncio.to_thread(copy)


async def _fill(child: _Child, payload: Sequence[Piece | bytearray] | Source, tail: bytes) -> tuple[int, int]:
    """Puts the payload and what follows it into the child's memory: where it begins there, and its length."""
    if isinstance(payload, Sequence):
        length = sum(map(len, payload))
        await _move(length, lambda: _write(child.memory, [*payload, tail], 0))
        return 0, length + len(tail)
    before = -payload.start % _ALIGNED
    begin = before + payload.start
    await payload.read_into(memoryview(child.mapped)[before : before + payload.room])
    _write(child.memory, [tail], begin + payload.length)
    return begin, payload.length + len(tail)


def _write(memory: int, pieces: Sequence[Piece | bytearray], at: int) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            written = os.pwrite(memory, view, at)
            view = view[written:]
            at += written


def _read(memory: int, at: int, length: int) -> bytes:
    """`length` bytes, which are there: the file has a fixed size."""
    result = os.pread(memory, length, at)
    while len(result) < length:
        result += os.pread(memory, length - len(result), at + len(result))
    return result
