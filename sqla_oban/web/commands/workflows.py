"""Changing workflows: cancel, retry."""

from starlette.requests import Request

from sqla_oban.web.board import Board
from sqla_oban.web.endpoints import Asked, Done
from sqla_oban.web.forms import Form
from sqla_oban.web.pages.workflows import the_workflow


async def ask_cancel(board: Board, request: Request, _: Form) -> Asked:
    """End all of its jobs that have not ended."""
    workflow = await the_workflow(board, request)

    async def work() -> Done:
        count = await board.oban.workflows.cancel(workflow.id)
        return Done(f"{workflow.name}: {_jobs(count)} cancelled.", (str(workflow.id),), count)

    return Asked((str(workflow.id),), workflow.name, work)


async def ask_retry(board: Board, request: Request, _: Form) -> Asked:
    """Bring back its jobs that were cancelled or discarded."""
    workflow = await the_workflow(board, request)

    async def work() -> Done:
        count = await board.oban.workflows.retry(workflow.id)
        return Done(f"{workflow.name}: {_jobs(count)} brought back.", (str(workflow.id),), count)

    return Asked((str(workflow.id),), workflow.name, work)


def _jobs(count: int) -> str:
    return f"{count:,} {'job was' if count == 1 else 'jobs were'}"
