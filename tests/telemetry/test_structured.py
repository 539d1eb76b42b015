import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog

from sqla_oban import telemetry
from sqla_oban.telemetry.events import JobsPruned, JobStarted

NAME = "tests.structured"


@pytest.fixture
def stream() -> Iterator[StringIO]:
    """A log by the standard library that structlog writes as JSON."""
    stream, logger = StringIO(), logging.getLogger(NAME)
    handler = logging.StreamHandler(stream)
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            telemetry.structured,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ]
    )
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    telemetry.attach_logger(logger=NAME)
    yield stream
    telemetry.detach_logger()
    logger.removeHandler(handler)
    logger.propagate = True


def test_the_fields_of_an_event_are_those_of_the_entry(stream: StringIO) -> None:
    telemetry.emit(JobsPruned(node="n", count=5))
    assert json.loads(stream.getvalue()) == {"event": "jobs_pruned", "node": "n", "count": 5}


def test_another_entry_passes_as_it_is(stream: StringIO) -> None:
    logging.getLogger(NAME).warning("hello")
    assert json.loads(stream.getvalue()) == {"event": "hello"}


def test_arguments_are_redacted_and_notes_left_out(stream: StringIO) -> None:
    telemetry.emit(
        JobStarted(
            node="n",
            id=1,
            queue="q",
            worker="w",
            attempt=1,
            max_attempts=1,
            args='{"token": "secret"}',
            meta='{"note": "secret"}',
            tags=(),
            waited=0.0,
        )
    )
    assert "secret" not in stream.getvalue()
    assert json.loads(stream.getvalue())["args"] == {"token": "[redacted]"}
