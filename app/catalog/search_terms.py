"""One criterion → one SQL condition. Fragments are constants with `?` where a value is bound; no value becomes SQL.

This is the only module that knows how LIKE and regular expressions are escaped. What a condition must mean is in
`app.dicom.matching`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import orjson

from app.dicom.attributes import BY_TAG, OF_REQUEST, REQUEST_ATTRIBUTES, Attribute
from app.dicom.matching import (
    AllOf,
    AnyOf,
    Criterion,
    Empty,
    Fuzzy,
    Kind,
    Match,
    NamePattern,
    Pattern,
    Range,
    Value,
    Wild,
    matches_keys,
)
from app.errors import BadRequest

_ALIAS = MappingProxyType({"PATIENT": "s", "STUDY": "s", "SERIES": "e", "IMAGE": "i"})
_TIMES = MappingProxyType(
    {"study_date": "s.study_time", "step_start_date": "e.step_start_time", "step_date": "s.step_time"}
)
_UNIQUE = frozenset({"uid", "patient_id", "accession_number", "study_date"})
_INTEGER_BOUND = 2**63
_ONLINE = "ONLINE"


@dataclass(frozen=True, slots=True)
class Term:
    """A condition. `selective`: an index finds few rows by it; `scan`: it must look into the value sets of each row."""

    sql: str
    args: tuple[object, ...] = ()
    selective: bool = False
    scan: bool = False


def like(pattern: Pattern) -> str:
    """The LIKE pattern with the meaning of `pattern`."""
    wild = {Wild.ANY: "%", Wild.ONE: "_"}
    return "".join(wild[part] if isinstance(part, Wild) else escape_like(part) for part in pattern.parts)


def escape_like(literal: str) -> str:
    """`literal` for a LIKE pattern."""
    return literal.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


_SPECIAL = re.compile(r"([][\\.^$*+?{}()|])")
_ANY_OF_GROUP = MappingProxyType({Wild.ANY: "[^=]*", Wild.ONE: "[^=]", Wild.TAIL: r"(?:\^[^=]*)?"})


def expression_of(pattern: Pattern) -> str:
    """The regular expression with the meaning of `pattern` inside one group of a name."""
    return "".join(_ANY_OF_GROUP[part] if isinstance(part, Wild) else escape(part) for part in pattern.parts)


def escape(literal: str) -> str:
    """`literal` for a regular expression."""
    return _SPECIAL.sub(r"\\\1", literal)


def join(terms: Sequence[Term], word: str) -> Term:
    """Terms joined by AND or OR."""
    if len(terms) == 1:
        return terms[0]
    sql = "(" + f" {word} ".join(term.sql for term in terms) + ")"
    every = all if word == "OR" else any
    args = tuple(arg for term in terms for arg in term.args)
    return Term(sql, args, every(term.selective for term in terms), any(term.scan for term in terms))


def column_term(criterion: Criterion, row: Attribute, *, lenient: bool = False) -> Term:
    """The condition on the attribute's own column."""
    column = _ALIAS[row.level] + "." + row.column
    match = criterion.match
    if criterion.time:
        return _moment(column, _TIMES[row.column], match)
    if row.matching == "set":
        return _set(column, match, lenient)
    if row.matching == "integer":
        return _integer(column, match)
    term = _scalar(column, criterion.kind, match, lenient)
    if row.column not in _UNIQUE or not _is_exact(match):
        return term
    if row.column == "accession_number":
        term = Term("(" + term.sql + " AND " + column + " <> '')", term.args)
    return Term(term.sql, term.args, selective=True)


def _is_exact(match: Match) -> bool:
    return isinstance(match, Value) or (isinstance(match, AnyOf) and all(map(_is_exact, match.matches)))


def computed_term(criterion: Criterion, *, lenient: bool = False) -> Term:
    """The condition on an attribute that has the same value everywhere, such as Instance Availability."""
    row = BY_TAG[criterion.path[0]]
    if row.keyword != "InstanceAvailability":
        raise BadRequest(f"{row.keyword} cannot be matched; name the UIDs")
    return Term("TRUE" if matches_keys(criterion.match, criterion.kind, [_ONLINE], lenient=lenient) else "FALSE")


def attribute_term(criterion: Criterion, *, lenient: bool = False) -> Term:
    """The condition on the value sets of a series, for study and series attributes without a column."""
    term = _attribute_term(criterion, lenient)
    if len(criterion.path) > 1 or criterion.path[0] not in OF_REQUEST:
        return term
    inside = _attribute_term(replace(criterion, path=(REQUEST_ATTRIBUTES, *criterion.path)), lenient)
    return join([term, inside], "AND" if isinstance(criterion.match, Empty) else "OR")


def _attribute_term(criterion: Criterion, lenient: bool) -> Term:
    path, kind, match = criterion.hex, criterion.kind, criterion.match
    if isinstance(match, AnyOf | AllOf):
        each = [_attribute_term(Criterion(criterion.path, kind, m), lenient) for m in match.matches]
        return join(each, "OR" if isinstance(match, AnyOf) else "AND")
    if isinstance(match, Empty):
        return Term("NOT jsonb_exists(e.attributes, ?)", (path,), scan=True)
    if isinstance(match, Value) and not (lenient and kind == "text" and match.key.lower() != match.key.upper()):
        forms = _forms(match.key) if kind == "number" else (match.key,)
        return join([_contains(path, form) for form in forms], "OR")
    literals = _literal_groups(match) if isinstance(match, NamePattern) else []
    inner = _scalar(_NORMAL.get(kind, "v"), kind, match, lenient)
    sql = "EXISTS (SELECT FROM jsonb_array_elements_text(e.attributes -> ?::text) AS v WHERE " + inner.sql + ")"
    return join([*(_contains(path, literal) for literal in literals), Term(sql, (path, *inner.args), scan=True)], "AND")


def _literal_groups(match: NamePattern) -> list[str]:
    """Groups without wild cards: the value sets hold each group of a name as a value too."""
    parts = [group.parts for group in match.groups if group is not None]
    return [part[0] for part in parts if len(part) == 1 and isinstance(part[0], str)]


_NORMAL = MappingProxyType(
    {
        "time": "(substr(split_part(v, '.', 1) || substr('000000', length(split_part(v, '.', 1)) + 1), 1, 6)"
        " || '.' || rpad(split_part(v, '.', 2), 6, '0'))",
        "datetime": "(split_part(v, '.', 1) || substr('00000101000000', length(split_part(v, '.', 1)) + 1)"
        " || '.' || rpad(split_part(v, '.', 2), 6, '0'))",
    }
)
"""Value sets hold times as they came; these complete them (DT without its offset) as `app.dicom.matching` does."""


def _contains(path: str, value: str) -> Term:
    return Term("e.attributes @> ?::jsonb", (orjson.dumps({path: [value]}).decode(),), selective=True)


def _forms(key: str) -> tuple[str, ...]:
    """How the value sets may write a number: as JSON wrote it."""
    number = float(key)
    floating = orjson.dumps(number).decode()
    return tuple(dict.fromkeys((key, floating)))


def _integer(column: str, match: Match) -> Term:
    if isinstance(match, Empty):
        return Term(column + " IS NULL")
    wanted = match.matches if isinstance(match, AnyOf) else (match,)
    numbers = [int(m.key) for m in wanted if isinstance(m, Value) and m.key.lstrip("-").isdigit()]
    numbers = [number for number in numbers if -_INTEGER_BOUND <= number < _INTEGER_BOUND]
    return Term(column + " = ANY(?::bigint[])", (numbers,))


def _set(column: str, match: Match, lenient: bool) -> Term:
    if isinstance(match, AllOf):
        return join([_set(column, each, lenient) for each in match.matches], "AND")
    if isinstance(match, Empty):
        return Term(column + " = '{}'")
    values = match.matches if isinstance(match, AnyOf) else (match,)
    if not lenient and all(isinstance(value, Value) for value in values):
        return Term(column + " && ?::text[]", ([value.key for value in values if isinstance(value, Value)],))
    inner = _scalar("v", "text", match, lenient)
    return Term("EXISTS (SELECT FROM unnest(" + column + ") AS v WHERE " + inner.sql + ")", inner.args)


def _moment(date: str, time: str, match: Match) -> Term:
    if not isinstance(match, Range):
        raise AssertionError(match)
    terms = [Term(date + " <> ''")]
    for end, operator in ((match.low, ">="), (match.high, "<=")):
        if end:
            # The date alone is what an index can use.
            terms.append(Term(date + operator + "?", (end[:8],)))
            terms.append(Term("(" + date + ", " + time + ") " + operator + " (?, ?)", (end[:8], end[8:])))
    return join(terms, "AND")


def _scalar(expression: str, kind: Kind, match: Match, lenient: bool) -> Term:
    """The condition on one text expression."""
    if isinstance(match, AnyOf | AllOf):
        if isinstance(match, AnyOf) and kind == "uid":
            keys = [each.key for each in match.matches if isinstance(each, Value)]
            return Term(expression + " = ANY(?::text[])", (keys,))
        each = [_scalar(expression, kind, m, lenient) for m in match.matches]
        return join(each, "OR" if isinstance(match, AnyOf) else "AND")
    if isinstance(match, Empty):
        return Term(expression + " = ''")
    if isinstance(match, Range):
        return _range(expression, match)
    if kind == "name":
        return _name(expression, match)
    if isinstance(match, Value):
        return _value(expression, match.key, lenient and kind == "text")
    if isinstance(match, Pattern):
        return _pattern(expression, match, lenient)
    raise AssertionError(match)


def _value(expression: str, key: str, lenient: bool) -> Term:
    if lenient and key.lower() != key.upper():
        return Term(_lower(expression) + " = " + _lower("?::text"), (key,))
    return Term(expression + " = ?", (key,))


def _lower(expression: str) -> str:
    return "lower(" + expression + ' COLLATE "default")'


def _range(expression: str, match: Range) -> Term:
    if not match.low:
        return Term("(" + expression + " <> '' AND " + expression + " <= ?)", (match.high,))
    if not match.high:
        return Term(expression + " >= ?", (match.low,))
    return Term("(" + expression + " >= ? AND " + expression + " <= ?)", (match.low, match.high))


def _pattern(expression: str, pattern: Pattern, lenient: bool) -> Term:
    if lenient:
        return Term(_lower(expression) + " LIKE " + _lower("?::text"), (like(pattern),))
    first = pattern.parts[0]
    if not isinstance(first, str) or expression == "v":
        return Term(expression + " LIKE ?", (like(pattern),))
    # The bounds let an index on the column (COLLATE "C") be used whatever plan is cached for the statement.
    bounds = " >= ? AND " + expression + " <= ? AND "
    return Term("(" + expression + bounds + expression + " LIKE ?)", (first, first + "\U0010ffff", like(pattern)))


_WORD_BEGINS = r"(^|[\^=, -])"


def _name(expression: str, match: Match) -> Term:
    """Conditions on search keys: up to three groups with `=` between them, any of which may match."""
    match match:
        case Value(key):
            escaped = escape_like(key)
            return _any_like(expression, (escaped, escaped + "=%", "%=" + escaped, "%=" + escaped + "=%"))
        case Pattern():
            return _name_pattern(expression, match)
        case NamePattern(groups):
            expressions = ["[^=]*" if group is None else expression_of(group) for group in groups]
            while groups[len(expressions) - 1] is None:
                expressions.pop()
            return Term(expression + " ~ ?", ("^" + "=".join(expressions) + "(=|$)",))
        case Fuzzy(words, plain):
            each = [Term(expression + " ~ ?", (_WORD_BEGINS + escape(word),)) for word in words]
            return join([_name(expression, plain), join(each, "AND")], "OR")
    raise AssertionError(match)


def _name_pattern(expression: str, pattern: Pattern) -> Term:
    match pattern.parts:
        case (str(text), Wild.ANY):
            escaped = escape_like(text)
            return _any_like(expression, (escaped + "%", "%=" + escaped + "%"))
        case (Wild.ANY, str(text)):
            escaped = escape_like(text)
            return _any_like(expression, ("%" + escaped, "%" + escaped + "=%"))
        case (Wild.ANY, str(), Wild.ANY):
            return Term(expression + " LIKE ?", (like(pattern),))
        case (str(text), Wild.TAIL):
            return join(
                [_name(expression, Value(text)), _name_pattern(expression, Pattern((text + "^", Wild.ANY)))], "OR"
            )
        case (Wild.ANY,):
            return Term(expression + " <> ''")
    return Term(expression + " ~ ?", ("(^|=)" + expression_of(pattern) + "(=|$)",))


def _any_like(expression: str, patterns: tuple[str, ...]) -> Term:
    return join([Term(expression + " LIKE ?", (pattern,)) for pattern in patterns], "OR")
