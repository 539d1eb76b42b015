"""How soon a producer answers a notice that every other node hears as well."""

import random

PATIENT = 3
"""Looks in vain, one after the other, before a producer holds back."""
STEP = 0.001
"""Seconds that it holds back by then at the most; twice as long with every further one."""
MOST = 0.05
"""Seconds that it holds back at the very most."""


class Herd:
    """One notice wakes all nodes, and one of them gets the job.

    Who has looked in vain several times holds back for a random moment, which grows, so that those who find something
    are not kept from it and the others look once for many notices. A producer that finds something answers at once
    again. Nothing is missed: the look comes after the notice, only later, and if those who are quicker have no room
    it is soon the first.
    """

    def __init__(self) -> None:
        self._in_vain = 0

    def found(self, count: int) -> None:
        """What a look found that followed a notice."""
        self._in_vain = 0 if count else self._in_vain + 1

    def hold_back(self) -> float:
        """Seconds to let pass before the next such look."""
        doublings = self._in_vain - PATIENT
        return 0.0 if doublings < 0 else random.uniform(0, min(MOST, STEP * 2.0 ** min(doublings, 30)))
