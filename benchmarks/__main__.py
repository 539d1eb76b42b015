"""Measures sqla_oban beside bare SQL and its peers in one run, and writes the figures as Markdown.

A durable PostgreSQL is started for each scenario. Peers are installed from their registries, once, into environments
below the user's cache directory; one that cannot be had says why in the table.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import Bench, say
from benchmarks.contenders import ALL, OUR_OWN
from benchmarks.report import Report, Section
from benchmarks.scale import FULL, QUICK
from benchmarks.scenarios import SCENARIOS

OUT = Path("docs/benchmarks.md")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the scenarios that are asked for."""
    asked = parsed(sys.argv[1:] if arguments is None else arguments)
    scale = QUICK if asked.quick else FULL
    scale = replace(scale, rounds=asked.rounds or scale.rounds, kept=asked.kept or scale.kept)
    only = [entrant for entrant in ALL if not asked.only or entrant.name in asked.only]
    with Bench(OUR_OWN if asked.without_peers else only) as bench:
        report = Report(command(asked), machine.describe(), scale.rounds, bench.described, [])
        for name in asked.scenarios or SCENARIOS:
            scenario = SCENARIOS[name](scale)
            section = Section(bench.run(scenario), scenario.goals())
            report.sections.append(section)
            say(f"\n{section.table.title}\n{section.table.markdown()}\n")
            report.write(asked.out)  # after each, so that a long run that is broken off has told what it knows
    say(f"written to {asked.out}")


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=f"default: all of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, help="turns of each contender, of which the median counts")
    parser.add_argument("--quick", action="store_true", help="small sizes, one turn: to see that everything works")
    parser.add_argument("--kept", type=int, help="how many finished jobs the scenario `kept` keeps")
    parser.add_argument("--out", type=Path, default=OUT, help="the Markdown file; the plot goes beside it")
    parser.add_argument("--without-peers", action="store_true", help="ourselves and bare SQL alone")
    parser.add_argument("--only", nargs="+", choices=[entrant.name for entrant in ALL], help="these contenders")
    asked = parser.parse_args(arguments)
    for name in asked.scenarios:
        if name not in SCENARIOS:
            parser.error(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    return asked


def command(asked: argparse.Namespace) -> str:
    """How to get the same report again."""
    flags = {"--quick": asked.quick, "--without-peers": asked.without_peers}
    values = {"--rounds": asked.rounds, "--kept": asked.kept}
    words = [
        *asked.scenarios,
        *(flag for flag, given in flags.items() if given),
        *(f"{option} {value}" for option, value in values.items() if value),
    ]
    return " ".join(["python -m benchmarks", *words])


if __name__ == "__main__":
    main()
