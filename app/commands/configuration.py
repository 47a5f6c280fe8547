"""Reads settings for commands; what is wrong in them is told by the names that people typed."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from app.errors import CannotStart
from app.settings import PREFIX

Kind = TypeVar("Kind", bound=BaseSettings)


def read(kind: type[Kind]) -> Kind:
    """The settings of this environment; raises `CannotStart`."""
    try:
        return kind()
    except ValidationError as error:
        problems = [_problem(problem["loc"], problem["msg"]) for problem in error.errors()]
        raise CannotStart("\n".join(problems)) from error
    except ValueError as error:
        raise CannotStart(str(error)) from error


def _problem(place: tuple[int | str, ...], message: str) -> str:
    return f"{PREFIX}{str(place[0]).upper()}: {message}" if place else message.removeprefix("Value error, ")
