"""The `fileroom` command: reads settings and options, runs one command; what the operator can mend is one line."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from importlib.metadata import version

from app.commands.configuration import read
from app.errors import CannotStart, FileroomError
from app.settings import Settings, unknown_variables
from dimse_bridge.settings import Settings as BridgeSettings

# Command → (its module in app.commands, what it does). A module is imported when its command is typed.
COMMANDS = {
    "serve": ("serve", "run the archive with everything it needs"),
    "bridge": ("bridge", "speak DIMSE before an archive that runs elsewhere"),
    "migrate": ("migrate", "bring the catalog's schema up to date"),
    "import": ("import_", "store files, folders and ZIP archives"),
    "export": ("export", "write stored files into a folder"),
    "verify": ("verify", "re-read what is stored and compare digests"),
    "reindex": ("reindex", "rebuild the catalog from blobs and journals"),
    "jobs": ("jobs", "run the background jobs as a process of its own"),
    "worklist": ("worklist", "import, show and preview the modality worklist; replay its HL7 messages"),
    "dimse": ("dimse", "ask other AEs: echo, find, get, move, store"),
    "token": ("token", "make, list and revoke API tokens"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; its exit status: 0 done, 1 failed, 2 wrong options or settings."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = _parser(words)
    options = parser.parse_args(words)
    try:
        settings = _settings()
        status: int = options.run(options, settings)
    except CannotStart as error:
        print(f"fileroom: {error.detail}", file=sys.stderr)
        return 2
    except FileroomError as error:
        print(f"fileroom: {error.detail}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"fileroom: {error.strerror}: {error.filename}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _settings() -> Settings:
    for name in unknown_variables(os.environ, BridgeSettings.model_fields):
        print(f"fileroom: {name} is no setting and is ignored", file=sys.stderr)
    return read(Settings)


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fileroom", description="A DICOMweb archive.")
    parser.add_argument("--version", action="version", version=f"fileroom {version('fileroom')}")
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name in words:
            module = import_module(f"app.commands.{module_name}")
            module.arguments(command)
            command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
