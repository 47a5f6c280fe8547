"""`fileroom token`: makes, lists and revokes API tokens. A token is shown once, when it is made."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys

from app.catalog import tokens
from app.catalog.embedded import database
from app.catalog.engine import Catalog
from app.catalog.migrate import prepare
from app.security.identity import digest_of, new_token
from app.security.policy import SCOPES
from app.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """create, list, revoke."""
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    create = actions.add_parser("create", help="make a token and show it, once")
    create.add_argument("name", help="who or what uses it, such as `ct-scanner-2`")
    create.add_argument("--scope", action="append", choices=SCOPES, required=True, help="may be given several times")
    actions.add_parser("list", help="show names and scopes")
    revoke = actions.add_parser("revoke", help="end a token within five seconds")
    revoke.add_argument("name")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Does the action on the catalog, which may be in use at the same time."""
    with database(settings.database_url, settings.data) as url:
        return asyncio.run(_run(options, url))


async def _run(options: argparse.Namespace, url: str) -> int:
    await prepare(url)
    catalog = Catalog(url, size=1)
    try:
        if options.action == "create":
            return await _create(catalog, options.name, tuple(dict.fromkeys(options.scope)))
        if options.action == "revoke":
            return await _revoke(catalog, options.name)
        return await _list(catalog)
    finally:
        await catalog.close()


async def _create(catalog: Catalog, name: str, scopes: tuple[str, ...]) -> int:
    if not _NAME.fullmatch(name):
        print("fileroom: a name has up to 64 letters, digits, and the characters . _ @ -", file=sys.stderr)
        return 2
    token = new_token()
    if not await tokens.create(catalog, name, digest_of(token), scopes):
        print(f"fileroom: there is or was a token named {name}; choose another name", file=sys.stderr)
        return 1
    print(f"Keep it, it is not shown again. May {', '.join(scopes)}:", file=sys.stderr)
    print(token)
    return 0


async def _revoke(catalog: Catalog, name: str) -> int:
    if not await tokens.revoke(catalog, name):
        print(f"fileroom: no valid token is named {name}", file=sys.stderr)
        return 1
    print(f"{name} is revoked.")
    return 0


async def _list(catalog: Catalog) -> int:
    for token in await tokens.everyone(catalog):
        used = f"last used {token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never used"
        state = f"revoked {token.revoked_at:%Y-%m-%d %H:%M}" if token.revoked_at else used
        print(f"{token.name:<32} {','.join(token.scopes):<24} made {token.created_at:%Y-%m-%d %H:%M}  {state}")
    return 0
