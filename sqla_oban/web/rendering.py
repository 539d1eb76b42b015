"""Pages from templates; everything that is put into one is escaped."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import HTTPConnection

from sqla_oban.states import RETRYING, UNFINISHED, JobState
from sqla_oban.web import csrf, links, notice, words
from sqla_oban.web.actions import Action
from sqla_oban.web.board import Board

ENVIRONMENT: Final = Environment(
    loader=PackageLoader("sqla_oban.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "number": words.number,
    "span": words.span,
    "moment": words.moment,
    "clock": words.clock,
    "short_worker": words.short_worker,
}
ENVIRONMENT.filters.update(FILTERS)
ENVIRONMENT.globals.update(ago=words.ago, Action=Action, JobState=JobState, RETRYING=RETRYING, UNFINISHED=UNFINISHED)
ENVIRONMENT.globals["ui"] = ENVIRONMENT.get_template("macros.html").module


def _fingerprint() -> str:
    """Changes with the assets, so that browsers may keep them."""
    assets = sorted(files("sqla_oban.web").joinpath("static").iterdir(), key=lambda asset: asset.name)
    return hashlib.sha256(b"".join(asset.read_bytes() for asset in assets)).hexdigest()[:12]


FINGERPRINT: Final = _fingerprint()


@dataclass(frozen=True, slots=True)
class View:
    """A page: which template, and what is put into it.

    Attributes:
        place: which entry of the navigation it belongs to.
        live: whether it is kept up to date while somebody looks at it.
    """

    template: str
    place: str
    title: str
    values: Mapping[str, Any]
    status: int = 200
    live: bool = True


def whole(board: Board, request: HTTPConnection, view: View, can: frozenset[Action], token: str) -> str:
    """The page as HTML."""
    return ENVIRONMENT.get_template(view.template).render(_context(board, request, view, can, token))


def changing(board: Board, request: HTTPConnection, view: View, can: frozenset[Action], token: str) -> str:
    """The part of it that is kept up to date."""
    template = ENVIRONMENT.get_template(view.template)
    context = template.new_context(_context(board, request, view, can, token))
    return "".join(template.blocks["live"](context))


def _context(board: Board, request: HTTPConnection, view: View, can: frozenset[Action], token: str) -> dict[str, Any]:
    query = {name: value for name, value in request.query_params.items() if name != "live"}
    return {
        **view.values,
        "title": view.title,
        "place": view.place,
        "live": view.live,
        "runner": board.oban.name,
        "can": can,
        "csrf": token,
        "csrf_field": csrf.FIELD,
        "fingerprint": FINGERPRINT,
        "said": notice.found(request),
        "at": partial(links.at, request),
        "here": links.at(request, request.scope["path"].removeprefix(links.base(request)), **query),
        "stream": links.at(request, request.scope["path"].removeprefix(links.base(request)), **query, live=1),
    }
