"""The bridge's parent while it ends."""

from __future__ import annotations

import subprocess
import sys

from tests.support.archive import ROOT

PARENT = """
import signal, time
from dimse_bridge.board import Board
from dimse_bridge.listening import bind
from dimse_bridge.parent import Parent
from dimse_bridge.settings import Settings

bound = bind(Settings(dimse_port=0))

def serve_late(number, channel):
    signal.signal(signal.SIGTERM, lambda *_: channel.send(b"r"))
    print("starts", flush=True)
    time.sleep(0.4)

parent = Parent(
    bound, Board(1, 1, 1), serve_late, children=1, most=1, on_ready=lambda: print("ready", bound[0].port, flush=True)
)
print("served", parent.serve(), flush=True)
parent.end(2)
"""


def test_a_child_that_comes_to_serve_while_all_end_is_no_news() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "starts\n"
    parent.terminate()
    output, _ = parent.communicate(timeout=30)
    assert (output.splitlines(), parent.returncode) == (["served True"], 0)
