"""What was found, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from sqla_oban.doctor.finding import Finding, Verdict, all_well

STYLES = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.PROBLEM: "bold red"}


def show(findings: Sequence[Finding]) -> None:
    """A line for each finding, and one for what to do about it."""
    console = Console(highlight=False)
    wide = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = Text(f"{finding.verdict:<8}", style=STYLES[finding.verdict])
        console.print(Text.assemble(mark, f"{finding.subject:<{wide}}  ", finding.message), soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':<{8 + wide}}  -> {finding.remedy}", style="dim"), soft_wrap=True)


def show_json(findings: Sequence[Finding]) -> None:
    """One JSON object: whether all is well, and each finding."""
    click.echo(json.dumps({"ok": all_well(findings), "findings": [_plain(finding) for finding in findings]}, indent=2))


def _plain(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "facts": dict(finding.facts)}
