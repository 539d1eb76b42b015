"""What an examination has found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqla_oban.doctor.ailment import Ailment

Fact = str | int | float | bool | None


class Verdict(StrEnum):
    """Whether something has to be done."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: what it belongs to, in a word or two.
        verdict: whether something has to be done.
        message: how it is.
        remedy: what to do about it; empty where there is nothing.
        ailment: what kind of trouble it is; None where there is none, or it has no name.
        facts: the numbers and names that the message speaks of, for programs.
    """

    subject: str
    verdict: Verdict
    message: str
    remedy: str = ""
    ailment: Ailment | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)


def ok(subject: str, message: str) -> Finding:
    """All is well."""
    return Finding(subject, Verdict.OK, message)


def note(subject: str, message: str, remedy: str = "", *, ailment: Ailment | None = None, **facts: Fact) -> Finding:
    """It works, but may surprise."""
    return Finding(subject, Verdict.NOTE, message, remedy, ailment, facts)


def problem(subject: str, message: str, remedy: str = "", *, ailment: Ailment | None = None, **facts: Fact) -> Finding:
    """It does not work."""
    return Finding(subject, Verdict.PROBLEM, message, remedy, ailment, facts)


def all_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing has to be done."""
    return all(finding.verdict is not Verdict.PROBLEM for finding in findings)
