"""How PostgreSQL's programs are run: they refuse root, and `initdb` refuses a user id that has no name.

Root maps itself to an ordinary user inside a user namespace, where files still belong to root outside; where that is
forbidden, it becomes another user by `setpriv` and gives that user the cluster.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.errors import CannotStart

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Launcher:
    """`prefix` goes before a command; `uid` owns the files then, as seen from outside."""

    prefix: tuple[str, ...]
    uid: int


@lru_cache(maxsize=1)
def launcher(binaries: Path) -> Launcher:
    """The first way that works on this machine; raises `CannotStart` when none does."""
    uid = os.geteuid()
    if uid != 0 and _has_name(uid):
        return Launcher((), uid)
    name = _ordinary_user()
    mapped = ("unshare", "--user", f"--map-user={name.pw_uid}", f"--map-group={name.pw_gid}")
    candidates = [Launcher(mapped, uid)]
    if uid == 0:
        become = ("setpriv", f"--reuid={name.pw_uid}", f"--regid={name.pw_gid}", "--clear-groups")
        candidates.append(Launcher(become, name.pw_uid))
    for candidate in candidates:
        if _works(candidate, binaries):
            return candidate
    if uid == 0:
        raise CannotStart(
            "PostgreSQL does not run as root, and neither `unshare --user` nor `setpriv` works here.\n"
            "Run Fileroom as another user, or set FILEROOM_DATABASE_URL to a PostgreSQL server of yours."
        )
    raise CannotStart(
        f"PostgreSQL needs a user name; user id {uid} has none in /etc/passwd, and `unshare --user` fails here.\n"
        "Run Fileroom as a user with a name, or set FILEROOM_DATABASE_URL to a PostgreSQL server of yours."
    )


def own(folder: Path, uid: int) -> None:
    """Gives `folder` and all in it to `uid`, when root runs us and it belongs to another user."""
    if os.geteuid() != 0 or folder.stat().st_uid == uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, -1, follow_symlinks=False)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _ordinary_user() -> pwd.struct_passwd:
    if _has_name(_NOBODY):
        return pwd.getpwuid(_NOBODY)
    for entry in pwd.getpwall():
        if entry.pw_uid != 0:
            return entry
    raise CannotStart("PostgreSQL does not run as root, and /etc/passwd has no other user. Add one.")


def _works(candidate: Launcher, binaries: Path) -> bool:
    try:
        done = subprocess.run(
            [*candidate.prefix, str(binaries / "postgres"), "--version"], capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0
