import asyncio

import pytest

from sqla_oban import telemetry
from sqla_oban.process import process_name
from sqla_oban.telemetry.events import SpanFailed, SpanFinished, SpanStarted
from tests.support import Recorder


class Untold(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def test_a_span_tells_its_begin_and_its_end_with_all_that_is_known(events: Recorder) -> None:
    with telemetry.span("import", rows=2) as told:
        told["written"] = 1
        told["rows"] = 3
    ((started,), (finished,)) = events.of(SpanStarted), events.of(SpanFinished)
    assert (started.name, started.node, started.data) == ("import", process_name(), {"rows": 2})
    assert (finished.name, finished.data, finished.seconds >= 0) == ("import", {"rows": 3, "written": 1}, True)
    assert events.of(SpanFailed) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no rows"), "no rows"),
        (asyncio.CancelledError(), ""),
        (Untold(), "an exception that cannot be told"),
    ],
)
def test_a_span_that_fails_tells_why_and_raises_it(error: BaseException, message: str, events: Recorder) -> None:
    with pytest.raises(type(error)) as raised, telemetry.span("import", name="is free"):
        raise error
    assert raised.value is error
    (failed,) = events.of(SpanFailed)
    assert (failed.kind, failed.message, failed.data) == (type(error).__name__, message, {"name": "is free"})
    assert events.of(SpanFinished) == []


async def test_spans_of_tasks_that_run_at_once_do_not_mix(events: Recorder) -> None:
    both = asyncio.Barrier(2)

    async def work(number: int) -> None:
        with telemetry.span("work", number=number) as told:
            await both.wait()
            told["again"] = number

    await asyncio.gather(work(1), work(2))
    assert sorted([(one.data["number"], one.data["again"]) for one in events.of(SpanFinished)]) == [(1, 1), (2, 2)]
