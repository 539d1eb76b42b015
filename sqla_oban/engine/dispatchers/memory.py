"""How large this process is."""

import os
import resource
import sys
from pathlib import Path

STATM = Path("/proc/self/statm")
UNIT = 1 if sys.platform == "darwin" else 1024


def resident_memory() -> int:
    """Bytes in memory now; where the system does not say, the most that there were.

    >>> resident_memory() > 1_000_000
    True
    """
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
