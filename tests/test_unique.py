"""What `Unique` takes, and which jobs are the same by it."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqla_oban import Job, JobState, Unique, job
from sqla_oban.errors import DeclarationError, InvalidJob, ObanError
from sqla_oban.models.unique_key import HELD, is_held, key_of
from sqla_oban.unique import BITS, GROUPS, VERSION

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab\u00e9"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("xyz", max_size=2), JSON, max_size=3)


BY_DEFAULT = Unique()


def made(args: dict[str, Any], unique: Unique = BY_DEFAULT, **fields: Any) -> Job:
    return Job(worker=fields.pop("worker", "w"), args=args, unique=unique, **fields)


def same(one: Job, other: Job) -> bool:
    return key_of(one) == key_of(other)


def plain(value: object) -> object:
    """Equal where JSON is, which tells True from 1, as Python does not."""
    match value:
        case dict():
            return {"dict": {key: plain(one) for key, one in value.items()}}
        case list():
            return {"list": [plain(one) for one in value]}
        case bool():
            return {"bool": value}
        case _:
            return value


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(OBJECTS, OBJECTS)
def test_keys_are_equal_if_and_only_if_the_args_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = made(one), made(other)
    assert same(first, second) == (plain(first.args) == plain(second.args))
    assert same(first, made(dict(reversed(one.items()))))


def test_a_key_is_versioned_and_a_whole_digest() -> None:
    version, _, digest = (made({"x": 1}).unique_key or "").partition(":")
    assert version == VERSION
    assert len(digest) == 64


def test_a_key_is_the_same_in_every_process_and_release() -> None:
    assert made({"b": [1, None, "é"], "a": 1.0}).unique_key == (
        "1:55b22c3cb1341920ca2ce1022d6257515e952572542648e4b9d75862d94331aa"
    )


def test_numbers_that_postgresql_takes_for_equal_are_equal() -> None:
    assert same(made({"x": 1}), made({"x": 1.0}))
    assert same(made({"x": 0.0}), made({"x": -0.0}))
    assert not same(made({"x": 1}), made({"x": True}))
    assert not same(made({"x": 1}), made({"x": "1"}))


@pytest.mark.parametrize(
    ("fields", "differing", "equal"),
    [
        (("worker", "queue", "args"), {"queue": "q"}, {"meta": {"a": 1}}),
        (("worker", "queue", "args"), {"worker": "v"}, {"priority": 3}),
        (("worker", "args"), {"worker": "v"}, {"queue": "q"}),
        (("worker",), {"worker": "v"}, {"args": {"x": 2}}),
        (("meta",), {"meta": {"a": 1}}, {"worker": "v"}),
    ],
)
def test_what_counts_is_what_was_chosen(fields: Any, differing: Any, equal: Any) -> None:
    unique = Unique(fields=fields)
    assert not same(made({"x": 1}, unique), made({"x": 1}, unique, **differing))
    assert same(made({"x": 1}, unique), made(equal.pop("args", {"x": 1}), unique, **equal))


def test_of_args_and_meta_only_the_chosen_keys_count() -> None:
    unique = Unique(keys=["account", "kind"])
    assert same(made({"account": 1, "kind": "a", "n": 1}, unique), made({"kind": "a", "account": 1, "n": 2}, unique))
    assert not same(made({"account": 1, "kind": "a"}, unique), made({"account": 2, "kind": "a"}, unique))
    by_meta = Unique(fields=["worker", "meta"], keys=["batch"])
    assert same(made({"n": 1}, by_meta, meta={"batch": 1, "x": 1}), made({"n": 2}, by_meta, meta={"batch": 1}))


def test_jobs_that_are_unique_in_different_ways_are_never_the_same() -> None:
    ways = [Unique(), Unique(fields=["args"]), Unique(keys=["x"]), Unique(fields=["args"], keys=["x"])]
    keys = {key_of(made({"x": 1}, way)) for way in ways}
    assert len(keys) == len(ways)


def test_for_how_long_and_in_which_states_is_no_part_of_the_key() -> None:
    assert same(made({"x": 1}, Unique(period=60, states="all")), made({"x": 1}, Unique(states="scheduled")))


def test_the_order_of_fields_and_keys_does_not_matter() -> None:
    one, other = Unique(fields=["args", "worker"], keys=["b", "a"]), Unique(fields=["worker", "args"], keys=["a", "b"])
    assert one == other
    assert same(made({"a": 1, "b": 2}, one), made({"a": 1, "b": 2}, other))


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_of_states_holds_in_these_and_in_no_others(group: str) -> None:
    unique = Unique(states=group)
    for state in JobState:
        assert is_held(made({}, unique, state=state)) == (state in unique.states)


def test_the_groups() -> None:
    every = set(JobState)
    assert Unique(states="all").states == every
    assert Unique().states == Unique(states="successful").states == every - {JobState.CANCELLED, JobState.DISCARDED}
    assert Unique(states="incomplete").states == Unique().states - {JobState.COMPLETED}
    assert Unique(states="scheduled").states == Unique(states={JobState.SCHEDULED}).states


def test_the_bits_of_states_are_part_of_the_tables() -> None:
    assert list(BITS) == list(JobState)
    assert list(BITS.values()) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert "'{available,scheduled,suspended,executing,retryable,completed,discarded,cancelled}'" in HELD.format(job="")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period": -1}, "unique period must be above zero and at most 100 years, got -1"),
        ({"period": 0}, "unique period must be above zero"),
        ({"period": float("nan")}, "unique period must be above zero"),
        ({"period": 1e18}, "at most 100 years"),
        ({"period": "60"}, "unique period must be seconds or a timedelta, got '60'"),
        ({"period": True}, "unique period must be seconds or a timedelta, got True"),
        ({"lock_timeout": 0}, "unique lock_timeout must be above zero"),
        ({"fields": ["args", "colour"]}, "unique fields can be worker, queue, args, meta, got 'colour' among them"),
        ({"fields": "args"}, "unique fields must be a list of names, got 'args'"),
        ({"fields": []}, "unique fields must name one at least"),
        ({"keys": "account"}, "unique keys must be a list of str, got 'account'"),
        ({"keys": [1]}, "unique keys must be a list of str"),
        ({"keys": []}, "unique keys must name one at least"),
        ({"keys": ["x"], "fields": ["worker"]}, "unique keys are keys of args or meta"),
        ({"states": "running"}, "unique states must be one of all, successful, incomplete, scheduled, or a set"),
        ({"states": []}, "or a set of JobState, got \\[\\]"),
        ({"states": ["available", "running"]}, "or a set of JobState"),
        ({"states": 5}, "or a set of JobState, got 5"),
        (
            {"replace": ["attempt"]},
            "unique replace can be args, meta, tags, queue, priority, max_attempts, scheduled_at",
        ),
        ({"replace": "args"}, "unique replace must be a list of names"),
        ({"replace": {"running": ["args"]}}, "unique replace must be one of all"),
        ({"replace": {"all": ["args"]}}, "unique replace cannot name executing"),
        ({"replace": {JobState.SCHEDULED: ["id"]}}, "unique replace can be"),
    ],
)
def test_bad_input_is_refused_where_it_is_given(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        Unique(**options)


def test_replace_by_states_and_by_groups() -> None:
    unique = Unique(replace={"scheduled": ["scheduled_at"], JobState.AVAILABLE: ("args", "priority")})
    assert unique.replace == {JobState.SCHEDULED: ("scheduled_at",), JobState.AVAILABLE: ("args", "priority")}
    assert Unique(replace=["args"]).replace.keys() == {
        *(JobState.AVAILABLE, JobState.SCHEDULED, JobState.SUSPENDED, JobState.RETRYABLE)
    }
    assert hash(unique) != 0


def test_periods_are_seconds_or_timedeltas() -> None:
    assert Unique(period=90).period == Unique(period=timedelta(minutes=1.5)).period == timedelta(seconds=90)


@pytest.mark.parametrize("value", ["yes", 1, {"period": 60}, Unique])
def test_unique_takes_a_unique_or_a_bool(value: Any) -> None:
    with pytest.raises(InvalidJob, match="unique must be a Unique, or True for the defaults, got"):
        Job(worker="w", unique=value)
    with pytest.raises(ObanError):
        job(name=f"unique.bad_{value!r}", unique=value)(lambda: None)


def test_a_key_that_is_not_among_the_args_is_refused_at_the_call() -> None:
    with pytest.raises(InvalidJob, match="unique by the key 'account', which is not among the job's args; pass it"):
        Job(worker="w", args={"n": 1}, unique=Unique(keys=["account"]))
    with pytest.raises(InvalidJob, match="not among the job's args or meta"):
        Job(worker="w", unique=Unique(keys=["account"], fields=["args", "meta"]))


def test_a_key_that_no_parameter_has_is_refused_at_the_declaration() -> None:
    async def charge(account: int, note: str = "") -> None: ...

    with pytest.raises(DeclarationError, match="unique by the key 'acount', and there is no such parameter"):
        job(name="unique.charge_wrong", unique=Unique(keys=["acount"]))(charge)
    charging = job(name="unique.charge", unique=Unique(keys=["account"]))(charge)
    with pytest.raises(DeclarationError, match="unique by the key 'x'"):
        charging.with_options(unique=Unique(keys=["x"]))
    with pytest.raises(InvalidJob, match="the key 'note', which is not among the job's args"):
        charging.with_options(unique=Unique(keys=["note"])).new(1)
    assert same(charging.new(1, note="a"), charging.new(1, note="b"))


def test_a_worker_says_it_for_its_jobs_and_a_call_over_it() -> None:
    @job(name="unique.say", unique=True)
    async def say() -> None: ...

    assert say.new().unique == Unique()
    assert say.with_options(unique=Unique(period=5)).new().unique_period == timedelta(seconds=5)
    assert say.with_options(unique=None).new().unique is say.with_options(unique=False).new().unique is None
    assert say.with_options(unique=False).new().unique_key is None


def test_a_job_that_says_nothing_is_not_unique() -> None:
    plain_job = Job(worker="w")
    assert (plain_job.unique, plain_job.unique_key, plain_job.conflict) == (None, None, False)
    assert not is_held(plain_job)
