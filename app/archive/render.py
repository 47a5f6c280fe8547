"""Rendered images of stored frames: made by a caged child from what the version's metadata say, kept in the bounded
folder of derived pictures. A key names the version, so nothing kept is ever out of date."""

from __future__ import annotations

from app.archive import bulk, frames
from app.archive.context import Context
from app.archive.decoded_frames import payload_of
from app.archive.frames import PieceCache, Place, entry_place, native_place
from app.archive.retrieve import Instance, find_instance, missing, require_uids, stored_members
from app.archive.sized_cache import SizedCache
from app.catalog import lookups, representatives
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import Undecodable
from app.pixels.render_facts import Facts, bulk_paths, read_facts
from app.pixels.render_tables import LONGEST
from app.pixels.render_text import corners
from app.pixels.render_wish import Wish, order

FactsCache = SizedCache[str, Facts]
"""What rendering needs of versions, by version."""

_NATIVE = 1


async def find_representative(context: Context, study: str, series: str | None) -> Instance:
    """The instance that stands for a study or series: the middle image of the series, or of the study's first series
    with images. Raises `NotFound`."""
    require_uids(study, *(() if series is None else (series,)))
    series = series or await representatives.series_of_study(context.catalog, study)
    sop = series and await representatives.instance_of_series(context.catalog, study, series)
    if not series or not sop:
        raise missing()
    return await find_instance(context, study, series, sop)


async def facts_of(context: Context, cache: FactsCache, instance: Instance) -> Facts:
    """What rendering needs of an instance with frames. Raises `Undecodable` or `LimitExceeded` when its attributes make
    no sense."""
    facts = cache.get(instance.version)
    if facts is None:
        members = await stored_members(context, instance)
        tables = await _tables(context, instance, set(bulk_paths(members)))
        facts = read_facts(members, instance.transfer_syntax, instance.pixel_tag, instance.frame_count, tables)
        cache.put(instance.version, facts)
    return facts


async def _tables(context: Context, instance: Instance, wanted: set[str]) -> dict[str, bytes]:
    """The lookup tables that the metadata only refer to, by tag path."""
    if not wanted:
        return {}
    found: dict[str, bytes] = {}
    _, values = await bulk.find_values(context, instance.study, instance.series, instance.sop)
    for value in values:
        if value.path in wanted and value.place.length <= LONGEST:
            pieces = [piece async for piece in frames.value_pieces(context, instance, value.place)]
            found[value.path] = b"".join(pieces)
    return found


async def pick_frame(context: Context, cache: FactsCache, instance: Instance, *, middle: bool) -> int:
    """The frame that stands for a whole instance, counted from 1: its Representative Frame Number (0028,6010), else the
    first, or the one in the `middle`."""
    if instance.frame_count == 1:
        return 1
    facts = await facts_of(context, cache, instance)
    return facts.representative or (instance.frame_count // 2 + 1 if middle else 1)


async def rendered(
    context: Context, cache: FactsCache, pieces: PieceCache, instance: Instance, number: int, wish: Wish
) -> bytes:
    """Frame `number` as a file of the media type of the wish. Raises `BadRequest` for a region outside the image,
    `Undecodable`, `NotAcceptable`, `LimitExceeded`, `DecoderFailed` or `Overloaded`."""
    key = f"{instance.version} r{number} {wish.tag}"
    kept = context.derived.get(key)
    if kept is not None:
        return kept
    facts = await facts_of(context, cache, instance)
    recipe, arguments = order(facts, number, wish)
    if wish.annotation:
        arguments["corners"] = corners(await stored_members(context, instance), wish.annotation)
    place = await _place(context, instance, number)
    if place.length > facts.picture.frame_length and place.length > _compressed_limit(facts):
        raise Undecodable("the compressed frame is longer than any of its size")
    made = await context.codecs.run("render", arguments, await payload_of(context, pieces, instance, place), recipe)
    context.derived.put(key, made)
    return made


def _compressed_limit(facts: Facts) -> int:
    """More bytes than any sensible compressed frame of this picture has."""
    return 4 * facts.picture.frame_length + (1 << 20)


async def _place(context: Context, instance: Instance, number: int) -> Place:
    if instance.frame_kind == _NATIVE:
        return native_place(instance, number)
    return entry_place(await lookups.scattered_frames(context.catalog, instance.id, [number]), 0)


def is_video(instance: Instance) -> bool:
    """Whether its pixel data is a video, which leaves as it is."""
    return transfer_syntax(instance.transfer_syntax).video
