"""How a request for a page or for a change is answered."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sqla_oban import telemetry
from sqla_oban.errors import InvalidSelection, JobNotFound, ObanError, SchemaMismatch, TooSlow, UnknownCron, reason
from sqla_oban.telemetry.events import OperatorActed
from sqla_oban.web import csrf, links, notice
from sqla_oban.web.actions import Action, allowed, permissions
from sqla_oban.web.board import Board
from sqla_oban.web.forms import Form, read_form
from sqla_oban.web.live import stream
from sqla_oban.web.rendering import View, changing, whole

log = logging.getLogger(__name__)

T = TypeVar("T")

BAD_DATA = "22"
"""The class of SQLSTATEs for values that PostgreSQL cannot take, as from an address that somebody has edited."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a change has come to.

    Attributes:
        said: what the next page says.
        on: what was changed, for the record.
        count: how many.
        back: where to go then; default: where the form says.
    """

    said: str
    on: tuple[str, ...]
    count: int = 1
    back: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A change that somebody asks for: what of, for the record, and the work itself."""

    on: tuple[str, ...]
    details: str
    work: Callable[[], Awaitable[Done]]


Show: TypeAlias = Callable[[Board, Request], Awaitable[View]]
Ask: TypeAlias = Callable[[Board, Request, Form], Awaitable[Asked]]


def page(board: Board, path: str, show: Show, *, action: Action = Action.READ) -> Route:
    """A page, and the stream that keeps it up to date."""

    async def answer(request: Request) -> Response:
        can = await permissions(board.authorize, request)
        if not {Action.READ, action} <= can:
            raise HTTPException(403, "You may not see this.")
        token = csrf.token_of(request)
        view = await explained(show(board, request))
        if "live" in request.query_params and view.live:

            async def fresh() -> str:
                return changing(board, request, await show(board, request), can, token)

            return stream(fresh, every=board.refresh, leaving=board.leaving)
        response = HTMLResponse(whole(board, request, view, can, token), view.status)
        csrf.keep(request, response, token)
        notice.drop(request, response)
        return response

    return Route(path, answer, methods=["GET"])


def change(board: Board, path: str, action: Action, ask: Ask, *, default: str) -> Route:
    """Something that changes things, by a form of ours and for those who may; a page says then what came of it."""

    async def answer(request: Request) -> Response:
        form = await read_form(request)
        if not csrf.is_ours(request, form.one(csrf.FIELD)):
            _record(board, request, action, refused="the request does not come from a page of this visitor's")
            raise HTTPException(403, "This form is not one that you were just shown. Go back, reload, and try again.")
        if not (
            await allowed(board.authorize, request, Action.READ) and await allowed(board.authorize, request, action)
        ):
            _record(board, request, action, refused="not allowed")
            raise HTTPException(403, f"You may not do this: it takes the permission {action.value}.")
        done = await _do(board, request, action, await explained(ask(board, request, form)))
        target = links.returning(request, form.one("back"), default)
        if isinstance(done, Done):
            response = RedirectResponse(links.at(request, done.back) if done.back else target, 303)
            notice.leave(request, response, done.said, good=True)
        else:
            response = RedirectResponse(target, 303)
            notice.leave(request, response, done, good=False)
        return response

    return Route(path, answer, methods=["POST"])


async def _do(board: Board, request: Request, action: Action, asked: Asked) -> Done | str:
    """What came of it, or why nothing did; on record either way."""
    try:
        done = await asked.work()
    except Exception as error:
        told = str(error) if isinstance(error, ObanError) else reason(error)
        _record(board, request, action, asked, refused=told)
        if isinstance(error, ObanError | SQLAlchemyError | OSError):
            return told
        raise
    finally:
        board.shared.forget()
    _record(board, request, action, asked, done)
    return done


def _record(
    board: Board,
    request: Request,
    action: Action,
    asked: Asked | None = None,
    done: Done | None = None,
    *,
    refused: str | None = None,
) -> None:
    telemetry.emit(
        OperatorActed(
            node=board.oban.node,
            action=action.value,
            user=board.user(request),
            on=done.on if done else asked.on if asked else (),
            details=asked.details if asked else "",
            count=done.count if done else 0,
            refused=refused,
        )
    )


async def explained(work: Awaitable[T]) -> T:
    """What `work` returns; what is wrong with a request is told as an answer to it."""
    try:
        return await work
    except (InvalidSelection, ValueError) as error:
        raise HTTPException(400, str(error)) from None
    except (JobNotFound, UnknownCron) as error:
        raise HTTPException(404, str(error)) from None
    except (TooSlow, SchemaMismatch) as error:
        raise HTTPException(503, str(error)) from None
    except (SQLAlchemyError, OSError) as error:
        if isinstance(error, DBAPIError) and (getattr(error.orig, "sqlstate", None) or "").startswith(BAD_DATA):
            raise HTTPException(400, "This address holds something that PostgreSQL cannot take.") from None
        log.warning("the dashboard could not be shown: %s", reason(error))
        raise HTTPException(503, "The database does not answer.") from None
