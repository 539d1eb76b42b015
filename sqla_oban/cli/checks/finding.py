"""What a check has found."""

from dataclasses import dataclass
from enum import StrEnum


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
    """

    subject: str
    verdict: Verdict
    message: str
    remedy: str = ""


def ok(subject: str, message: str) -> Finding:
    """All is well."""
    return Finding(subject, Verdict.OK, message)


def note(subject: str, message: str, remedy: str = "") -> Finding:
    """It works, but may surprise."""
    return Finding(subject, Verdict.NOTE, message, remedy)


def problem(subject: str, message: str, remedy: str = "") -> Finding:
    """It does not work."""
    return Finding(subject, Verdict.PROBLEM, message, remedy)
