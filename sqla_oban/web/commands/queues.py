"""Changing queues: pause, resume, scale; on one node or on all."""

from starlette.requests import Request

from sqla_oban.errors import InvalidSelection
from sqla_oban.web.board import Board
from sqla_oban.web.endpoints import Asked, Done
from sqla_oban.web.forms import Form


async def ask_pause(board: Board, _: Request, form: Form) -> Asked:
    """Claim no more jobs."""
    queue, node = form.one("queue"), form.one("node") or None

    async def work() -> Done:
        await board.oban.queues.pause(queue, node=node)
        return Done(f"{_named(queue)} is paused{_where(node)}.", (queue,))

    return Asked((queue,), f"pause{_where(node)}", work)


async def ask_resume(board: Board, _: Request, form: Form) -> Asked:
    """Claim jobs again."""
    queue, node = form.one("queue"), form.one("node") or None

    async def work() -> Done:
        await board.oban.queues.resume(queue, node=node)
        return Done(f"{_named(queue)} goes on{_where(node)}.", (queue,))

    return Asked((queue,), f"resume{_where(node)}", work)


async def ask_scale(board: Board, _: Request, form: Form) -> Asked:
    """Run up to so many jobs at the same time."""
    queue, node, limit = form.one("queue"), form.one("node") or None, form.one("limit")
    if not (limit.isascii() and limit.isdecimal() and 0 < len(limit) < 6):
        raise InvalidSelection("A limit is a whole number above zero.")

    async def work() -> Done:
        await board.oban.queues.scale(queue, limit=int(limit), node=node)
        return Done(f"{_named(queue)} runs up to {limit} jobs{_where(node) or ' on each node'}.", (queue,))

    return Asked((queue,), f"limit {limit}{_where(node)}", work)


def _named(queue: str) -> str:
    return "Every queue" if queue == "*" else f"The queue {queue}"


def _where(node: str | None) -> str:
    return "" if node is None else f" on {node}"
