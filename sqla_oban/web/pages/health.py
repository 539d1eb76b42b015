"""What harms the queues, and what to do about it."""

from typing import Final

from starlette.requests import Request

from sqla_oban.doctor.diagnosis import diagnosed
from sqla_oban.doctor.finding import Verdict
from sqla_oban.web.board import Board
from sqla_oban.web.rendering import View

GOOD_FOR: Final = 30.0
"""Seconds that a diagnosis is shared at least: it asks many questions, each on a connection to itself."""

WORST_FIRST: Final = (Verdict.PROBLEM, Verdict.NOTE, Verdict.OK)


async def health(board: Board, _: Request) -> View:
    """What `sqla-oban doctor` finds. Which workers there are is not asked of this process, which may run none."""
    found = await board.shared.get(diagnosed, lambda: diagnosed(board.oban), lifetime=GOOD_FOR)
    findings = sorted(found, key=lambda one: WORST_FIRST.index(one.verdict))
    return View("health.html", "health", "Health", {"findings": findings, "Verdict": Verdict})
