"""The demonstration from beginning to end."""

from sqla_oban.cli.demo.fleet import Fleet
from sqla_oban.cli.demo.ground import Ground, prepared
from sqla_oban.cli.demo.patience import Patience
from sqla_oban.cli.demo.screen import Outcome, Screen
from sqla_oban.cli.demo.shop import sessions
from sqla_oban.cli.demo.steps import STEPS, Step


async def play(ground: Ground, screen: Screen, patience: Patience) -> bool:
    """Show all steps, one after the other, and say whether each showed what it should.

    Raises:
        ClickException: the database cannot be reached, or a node ended that should not.
    """
    async with prepared(ground), Fleet(ground, screen) as fleet:
        await fleet.add()
        outcomes = [await _show(step(fleet, screen, patience), fleet, screen, patience) for step in STEPS]
    screen.summarise(outcomes)
    return all(outcome.shown for outcome in outcomes)


async def _show(step: Step, fleet: Fleet, screen: Screen, patience: Patience) -> Outcome:
    seen = ""

    async def is_shown() -> bool:
        nonlocal seen
        fleet.check()
        async with sessions() as session:
            seen = await step.read(session)
        return seen == step.lesson.expected

    screen.begin(step.lesson)
    await step.act()
    await patience.until(is_shown)
    outcome = Outcome(step.lesson, seen)
    screen.end(outcome)
    return outcome
