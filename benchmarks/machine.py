"""The machine that the figures are of."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from sqla_oban.testing.temporary_postgres import find_binaries


def describe() -> list[str]:
    """What a reader must know to compare these figures with others."""
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"{processor()}, {os.cpu_count()} cores, {memory()}; {platform.system()} {platform.release()}",
        f"{postgres()}; PostgreSQL and all contenders on the same cores",
        load(),
    ]


def load() -> str:
    """How busy the machine was with other things."""
    average = os.getloadavg()[0]
    said = f"load average of the last minute, at the start: {average:.1f}"
    return (
        said if average < (os.cpu_count() or 1) / 2 else f"{said}. **The machine was busy: these figures are noise.**"
    )


def processor() -> str:
    """The processor by its own name."""
    return _found(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo")) or platform.processor() or platform.machine()


def memory() -> str:
    """What is built in, where the kernel tells."""
    kilobytes = _found(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo"))
    return f"{int(kilobytes) / 2**20:.0f} GiB" if kilobytes else "memory unknown"


def postgres() -> str:
    """The server's release."""
    command = [str(find_binaries() / "postgres"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _found(pattern: str, file: Path) -> str | None:
    found = re.search(pattern, file.read_text()) if file.exists() else None
    return found[1].strip() if found else None
