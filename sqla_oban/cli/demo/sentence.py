"""What a node reports, in words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sqla_oban.telemetry.events import (
    Event,
    JobFinished,
    JobRescued,
    JobsStaged,
    JobStarted,
    LeadershipGained,
    LeadershipLost,
    RunnerStarted,
)

WORDS: Final[Mapping[type[Event], str]] = MappingProxyType(
    {
        RunnerStarted: "{0.node} runs jobs",
        LeadershipGained: "{0.node} leads",
        LeadershipLost: "{0.node} leads no longer",
        JobsStaged: "{0.node} finds {0.count} job due",
        JobStarted: "{0.node} starts job {0.id}, {0.worker}, attempt {0.attempt}",
        JobFinished: "{0.node} ended job {0.id}: {0.state}",
        JobRescued: "{0.node} rescued job {0.id}: {0.state} again",
    }
)
"""The events that nodes report to the demonstration, each as a sentence about its node."""


def sentence(event: Event) -> str:
    """An event in words, with the reason where a job failed.

    >>> sentence(LeadershipGained(node="node-1"))
    'node-1 leads'
    """
    words = WORDS[type(event)].format(event)
    return f"{words}, {event.error}" if isinstance(event, JobFinished) and event.error else words
