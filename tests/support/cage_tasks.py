"""Tasks that do to a caged child what hostile pixels might do to a decoder."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import time
from types import MappingProxyType
from typing import Any

from app.errors import Undecodable
from app.pixels.cage_child import Buffer, Task


def echo(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    return payload


def pieces(arguments: dict[str, Any], payload: memoryview) -> list[Buffer]:
    return [b"a", b"", payload, b"z"]


def whoami(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    return str(os.getpid()).encode()


def refuse(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    raise Undecodable("these pixels are bad")


def fail(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    raise ZeroDivisionError("a bug")


def segfault(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    return ctypes.string_at(0)


def abort(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    os.abort()


def sleep(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    time.sleep(arguments["seconds"])
    return b"awake"


def spin(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    while True:
        pass


def eat(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    return bytearray(arguments["bytes"])


def open_file(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    try:
        os.open("/etc/passwd", os.O_RDONLY)
    except OSError as error:
        return str(error.errno).encode()
    return b"opened"


def connect(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    try:
        socket.socket()
    except OSError as error:
        return str(error.errno).encode()
    return b"a socket"


def lie(arguments: dict[str, Any], payload: memoryview) -> Buffer:
    """Sends an answer of its own on the only socket that it has."""
    for descriptor in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, arguments["answer"].encode())
        except OSError:
            continue
    return b""


TASKS: MappingProxyType[str, Task] = MappingProxyType(
    {
        task.__name__: task
        for task in (
            echo, pieces, whoami, refuse, fail, segfault, abort, sleep, spin, eat, open_file, connect, lie,
        )
    }
)  # fmt: skip
