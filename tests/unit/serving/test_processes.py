"""The parent starts children again after a pause that grows, and gives up on one that never serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil

from tests.support.archive import ROOT

PARENT = """
import os, signal, sys, time
from app.serving.processes import Child, Processes
from app.serving.worker import Lifeline

lifeline = Lifeline.make()

def serve():
    lifeline.hold("fileroom-1")
    os.write(lifeline.ready_write, b".")
    time.sleep(60)

def fail():
    lifeline.hold("fileroom-1")
    os._exit(3)

def serve_late():
    lifeline.hold("fileroom-1")
    signal.signal(signal.SIGTERM, lambda *_: os.write(lifeline.ready_write, b"."))
    print("starts", flush=True)
    time.sleep(0.4)

child = Child("worker", {run}, lambda: print("died", flush=True))
processes = Processes([child], lifeline, 1, lambda: print("ready", child.pid, flush=True))
print("ran", processes.run(lambda: (60.0, ())), flush=True)
processes.end(0.5)
"""


def start(run: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(PARENT.replace("{run}", run))
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_child_that_never_serves_ends_it() -> None:
    started = time.monotonic()
    output, _ = start("fail").communicate(timeout=30)
    assert output.splitlines() == ["died"] * 5 + ["ran False"]
    assert time.monotonic() - started > 1.4, "each pause is longer than the one before"


def test_children_are_replaced_and_die_with_their_parent() -> None:
    parent = start("serve")
    assert parent.stdout is not None
    first = int(parent.stdout.readline().split()[1])
    os.kill(first, signal.SIGKILL)
    assert parent.stdout.readline() == "died\n"
    deadline = time.monotonic() + 10
    while not (children := psutil.Process(parent.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (second,) = children
    assert second.pid != first
    while second.name() != "fileroom-1":  # its bond to the parent is tied before its name
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent.kill()
    parent.communicate(timeout=5)
    while second.is_running() and second.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_that_comes_to_serve_while_all_end_is_no_news() -> None:
    parent = start("serve_late")
    assert parent.stdout is not None
    assert parent.stdout.readline() == "starts\n"
    parent.terminate()
    output, _ = parent.communicate(timeout=30)
    assert (output.splitlines(), parent.returncode) == (["ran True", "died"], 0)
