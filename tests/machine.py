"""Runs the state machines that put transactions to the test."""

from collections.abc import Callable
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_machine(make: Callable[[], RuleBasedStateMachine], *, examples: int, steps: int = 30) -> None:
    """Have hypothesis look for a sequence of steps that breaks what `make` makes; no time is too long for one."""
    run_state_machine_as_test(
        cast(Any, make),  # it only calls it
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
