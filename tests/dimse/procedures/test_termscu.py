"""DCMTK's termscu asks for a shutdown by a private SOP class, which the bridge does not provide."""

from __future__ import annotations

import subprocess

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tests.support.bridge import CALLED, RunningBridge, dcmtk


def ask(command: str, bridge: RunningBridge) -> int:
    arguments = [dcmtk(command), "-aec", CALLED, "127.0.0.1", str(bridge.port)]
    return subprocess.run(arguments, check=False, capture_output=True, timeout=30).returncode


def test_termscu_ends_nobody(bridge_process: RunningBridge) -> None:
    ae = AE("WITNESS")
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", bridge_process.port, ae_title=CALLED)
    assert association.is_established
    ask("termscu", bridge_process)
    assert association.send_c_echo().Status == 0
    association.release()
    assert ask("echoscu", bridge_process) == 0
