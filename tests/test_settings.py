import dataclasses
import math
from datetime import timedelta
from typing import Any

import pytest

from sqla_oban import JobState, QueueConfig, RateLimit
from sqla_oban.errors import ConfigurationError
from sqla_oban.settings import (
    AckerSettings,
    HeartbeatSettings,
    LeaderSettings,
    LifelineSettings,
    NotifierSettings,
    ProcessSettings,
    PrunerSettings,
    PruneRule,
    StagerSettings,
)
from sqla_oban.settings.checks import CENTURY, MOST
from sqla_oban.settings.maintenance import DAY

CLASSES: list[type[Any]] = [
    AckerSettings,
    HeartbeatSettings,
    LeaderSettings,
    LifelineSettings,
    NotifierSettings,
    ProcessSettings,
    PrunerSettings,
    QueueConfig,
    StagerSettings,
]


def fields_of(*types: object) -> list[Any]:
    """All fields of all settings that are declared as one of `types`."""
    return [
        pytest.param(kind, field.name, id=f"{kind.__name__}.{field.name}")
        for kind in CLASSES
        for field in dataclasses.fields(kind)
        if field.type in types
    ]


DURATIONS = fields_of(float, float | None)
NUMBERS = fields_of(int)


def test_every_field_is_covered_here() -> None:
    everything = sum(len(dataclasses.fields(kind)) for kind in CLASSES)
    others = (
        12  # PrunerSettings' max_age, max_kept and rules, QueueConfig's paused, executor, global_limit, rate_limit,
    )
    # , partition and burst, and ProcessSettings' setup, max_jobs and max_memory, see below
    assert len(DURATIONS) + len(NUMBERS) == everything - others


@pytest.mark.parametrize("kind", CLASSES)
def test_the_defaults_are_accepted(kind: type[Any]) -> None:
    assert kind() == kind()


@pytest.mark.parametrize(("kind", "field"), DURATIONS)
@pytest.mark.parametrize(
    "value",
    [
        *(0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, CENTURY + 1, True, "5", [], timedelta(seconds=5)),
        pytest.param(10**400, id="beyond-any-float"),
        pytest.param(10**5_000, id="unprintable"),
    ],
)
def test_a_duration_is_a_number_above_zero_and_at_most_a_century(kind: type[Any], field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{kind.__name__}\.{field} must be"):
        kind(**{field: value})


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, MOST + 1, 1.0, 2.5, math.nan, math.inf, True, "5", None),
        pytest.param(10**5_000, id="unprintable"),
        pytest.param(-(10**5_000), id="unprintable-negative"),
    ],
)
def test_a_number_is_an_integer_above_zero_that_postgresql_can_hold(kind: type[Any], field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{kind.__name__}\.{field} must be"):
        kind(**{field: value})


@pytest.mark.parametrize(("kind", "field"), [one for one in DURATIONS if one.values[1] != "rescue_after"])
def test_only_the_age_limit_of_the_rescue_may_be_none(kind: type[Any], field: str) -> None:
    with pytest.raises(ConfigurationError):
        kind(**{field: None})


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
@pytest.mark.parametrize("value", [1, MOST])
def test_the_ends_of_a_numbers_range_are_accepted(kind: type[Any], field: str, value: int) -> None:
    assert getattr(kind(**{field: value}), field) == value


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param({"interval": 5, "ttl": 12, "margin": 2.1}, id="no-room-for-a-failed-beat"),
        pytest.param({"ttl": 3, "margin": 3}, id="margin-eats-the-ttl"),
        pytest.param({"ttl": 1, "margin": 2}, id="margin-above-the-ttl"),
    ],
)
def test_a_heartbeat_must_leave_room_for_one_failed_beat(seconds: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="interval must be at most half of ttl - margin"):
        HeartbeatSettings(**seconds)


def test_a_heartbeat_may_use_all_of_that_room() -> None:
    assert HeartbeatSettings(interval=5, ttl=12, margin=2).interval == 5


def test_a_leaders_margin_is_at_most_a_third_of_its_lease() -> None:
    assert LeaderSettings(ttl=3, margin=1).margin == 1
    with pytest.raises(ConfigurationError, match="margin must be at most a third of ttl"):
        LeaderSettings(ttl=3, margin=1.1)


def test_a_leader_may_fail_to_renew_twice_before_it_stops_to_trust_its_lease() -> None:
    settings = LeaderSettings(ttl=10, margin=1)
    assert 3 * settings.renewal == settings.ttl - settings.margin


def test_the_rescue_by_age_is_off_by_default_and_takes_a_duration() -> None:
    assert LifelineSettings().rescue_after is None
    assert LifelineSettings(rescue_after=5).rescue_after == 5


def test_failures_are_kept_longer_than_successes() -> None:
    ages = PrunerSettings().seconds()
    assert ages[JobState.COMPLETED] < ages[JobState.CANCELLED] < ages[JobState.DISCARDED]


def test_ages_may_be_timedeltas_and_none_keeps_for_ever() -> None:
    settings = PrunerSettings(max_age={JobState.COMPLETED: timedelta(days=2), JobState.DISCARDED: None})
    assert settings.seconds() == {JobState.COMPLETED: 2 * DAY}


@pytest.mark.parametrize(
    "state", [*(state for state in JobState if state not in {"completed", "cancelled", "discarded"}), "bogus"]
)
@pytest.mark.parametrize("age", [5, None])
def test_jobs_that_have_not_ended_are_never_pruned(state: Any, age: float | None) -> None:
    with pytest.raises(ConfigurationError, match=f"jobs that are {state} have not ended; known: completed"):
        PrunerSettings(max_age={state: age})


@pytest.mark.parametrize("ages", [[1], 5, "completed", None], ids=repr)
def test_ages_are_given_by_state(ages: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^PrunerSettings\.max_age must be a dict of states, got "):
        PrunerSettings(max_age=ages)


def test_later_changes_to_the_ages_do_not_leak_in() -> None:
    ages: dict[JobState, float | timedelta | None] = {JobState.COMPLETED: 5}
    settings = PrunerSettings(max_age=ages)
    ages[JobState.COMPLETED] = -5
    assert settings.seconds() == {JobState.COMPLETED: 5}


@pytest.mark.parametrize(
    "age", [0, -1, math.nan, math.inf, True, "5", timedelta(0), timedelta(seconds=-1), timedelta.max]
)
def test_an_age_is_a_duration_above_zero_and_at_most_a_century(age: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_age\[completed\]"):
        PrunerSettings(max_age={JobState.COMPLETED: age})


@pytest.mark.parametrize(("kind", "field"), [*DURATIONS, *NUMBERS, (PrunerSettings, "max_age")])
def test_settings_are_frozen(kind: type[Any], field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), field, 5)


@pytest.mark.parametrize("paused", [0, 1, "yes", None])
def test_a_queue_is_configured_as_paused_or_not(paused: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^QueueConfig\.paused must be True or False, got "):
        QueueConfig(paused=paused)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: PruneRule(), "a queue or about a worker"),
        (lambda: PruneRule(queue="a", worker="b"), "a queue or about a worker"),
        (lambda: PruneRule(queue=7), "takes a name that is not blank, got 7"),  # type: ignore[arg-type]
        (lambda: PruneRule(worker="a\x00"), "takes a name"),
        (lambda: PruneRule(queue="a", max_age=0), "PruneRule.max_age"),
        (lambda: PruneRule(queue="a", max_age=timedelta(days=-1)), "PruneRule.max_age"),
        (lambda: PruneRule(queue="a", max_kept=0), "PruneRule.max_kept"),
        (lambda: PruneRule(queue="a", states=[JobState.EXECUTING]), "PruneRule.states must be of completed"),
        (lambda: PruneRule(queue="a", states="completed"), "PruneRule.states"),  # type: ignore[arg-type]
        (lambda: PruneRule(queue="a", states=[]), "PruneRule.states"),
        (lambda: PrunerSettings(rules=["a"]), "takes PruneRules"),  # type: ignore[list-item]
        (lambda: PrunerSettings(rules=[PruneRule(queue="a"), PruneRule(queue="a")]), "two rules for 'a'"),
        (lambda: PrunerSettings(max_kept={JobState.AVAILABLE: 5}), "max_kept must be a dict of final states"),
        (lambda: PrunerSettings(max_kept={JobState.COMPLETED: 0}), "max_kept"),
    ],
)
def test_a_wrong_rule_of_the_pruner_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        wrong()


def test_a_queue_may_have_a_rule_for_each_state() -> None:
    rules = [PruneRule(queue="a", states=[state], max_age=60) for state in (JobState.COMPLETED, JobState.DISCARDED)]
    assert PrunerSettings(rules=rules).rules == tuple(rules)


@pytest.mark.parametrize("executor", ["async", "thread", "fiber", 5])
def test_a_queue_is_for_processes_or_leaves_it_to_its_workers(executor: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'^QueueConfig\.executor must be "process" or None, got '):
        QueueConfig(executor=executor)
    assert QueueConfig(executor="process").executor == "process"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"setup": "shop.app"}, "setup is written as module:name, as in shop.app:oban, got 'shop.app'"),
        ({"setup": "shop/app.py:oban"}, "setup is written as module:name"),
        ({"setup": "shop.app:"}, "setup is written as module:name"),
        ({"setup": print}, "setup is written as module:name"),
        ({"max_jobs": 0}, "max_jobs must be at least 1"),
        ({"max_jobs": "5"}, "max_jobs must be an integer"),
        ({"max_memory": 0}, "max_memory must be a number of bytes, got 0"),
        ({"max_memory": 1.5}, "max_memory must be a number of bytes, got 1.5"),
        ({"max_memory": True}, "max_memory must be a number of bytes, got True"),
    ],
)
def test_wrong_settings_of_processes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"ProcessSettings.{message}"):
        ProcessSettings(**options)


def test_a_bound_of_memory_may_be_more_than_two_gigabytes() -> None:
    assert ProcessSettings(setup="shop.app:state.oban", max_jobs=1, max_memory=2**40).max_memory == 2**40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_limit": 0}, "QueueConfig.global_limit must be at least 1, got 0"),
        ({"global_limit": "3"}, "QueueConfig.global_limit must be an integer"),
        ({"rate_limit": 7}, "QueueConfig.rate_limit must be a RateLimit, as RateLimit(100, 60), got 7"),
        ({"partition": "worker"}, "QueueConfig.partition divides a limit: give global_limit or rate_limit too"),
        ({"partition": "args", "global_limit": 1}, 'QueueConfig.partition must be "worker", or a key of the args'),
        ({"partition": ("args",), "global_limit": 1}, "QueueConfig.partition must be"),
        ({"partition": ("tags", "x"), "global_limit": 1}, "QueueConfig.partition must be"),
        ({"partition": ("args", ""), "global_limit": 1}, "the key in QueueConfig.partition must be a non-blank str"),
        ({"burst": 1}, "QueueConfig.burst must be True or False, got 1"),
        ({"burst": True, "global_limit": 1}, "QueueConfig.burst lets partitions go past global_limit"),
        ({"burst": True, "partition": "worker", "rate_limit": RateLimit(1, 1)}, "QueueConfig.burst lets partitions"),
    ],
)
def test_impossible_limits_are_refused_where_they_are_written(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        QueueConfig(**options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allowed": 0}, "RateLimit.allowed must be at least 1, got 0"),
        ({"period": 0}, "RateLimit.period must be a finite number above zero"),
        ({"period": timedelta(0)}, "RateLimit.period must be a finite number above zero"),
        ({"period": "60"}, "RateLimit.period must be a number of seconds"),
        ({"algorithm": "leaky"}, "RateLimit.algorithm must be one of sliding, fixed, bucket, got 'leaky'"),
    ],
)
def test_an_impossible_rate_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        RateLimit(**{"allowed": 1, "period": 1, **options})
    assert message in str(refused.value)


def test_a_rate_is_stored_in_seconds() -> None:
    assert RateLimit(5, timedelta(minutes=1)).stored() == {"allowed": 5, "period": 60.0, "algorithm": "sliding"}
