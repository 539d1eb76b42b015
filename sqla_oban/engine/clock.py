"""The clock that trust in a lease is measured by."""

import time

BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds on a clock that never goes back and, where there is such a clock, runs on while the machine is suspended.

    `time.monotonic()` stands still then on Linux, and a machine that wakes up would believe a lease that others have
    taken long since.
    """
    return time.monotonic() if BOOT_CLOCK is None else time.clock_gettime(BOOT_CLOCK)
