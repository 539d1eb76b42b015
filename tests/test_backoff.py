import random
from collections.abc import Callable

import pytest

from sqla_oban.backoff import exponential, reconnect

Draw = Callable[[float, float], float]


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 17), (2, 19), (3, 23), (4, 31), (5, 47), (6, 79), (20, 1_048_591)]
)
def test_the_waits_follow_the_series_of_oban(attempt: int, seconds: int) -> None:
    assert exponential(attempt, 20, jitter=0) == seconds


@pytest.mark.parametrize("max_attempts", [1, 5, 19, 20])
def test_the_number_of_attempts_does_not_matter_up_to_twenty(max_attempts: int) -> None:
    assert exponential(1, max_attempts, jitter=0) == 17


@pytest.mark.parametrize(
    ("attempt", "max_attempts", "step"),
    [(1, 40, 0), (2, 40, 1), (20, 40, 10), (40, 40, 20), (50, 100, 10), (100, 100, 20), (32_767, 32_767, 20)],
)
def test_more_than_twenty_attempts_are_scaled_down_to_twenty_steps(attempt: int, max_attempts: int, step: int) -> None:
    assert exponential(attempt, max_attempts, jitter=0) == 15 + 2**step


def test_an_attempt_beyond_the_last_waits_no_longer_than_the_last() -> None:
    assert exponential(500, 20, jitter=0) == exponential(20, 20, jitter=0)


@pytest.mark.parametrize("attempt", [1, 7, 20])
@pytest.mark.parametrize(("draw", "share"), [(min, 1.0), (max, 1.1)], ids=["least", "most"])
def test_jitter_never_lowers_a_wait_and_adds_a_tenth_at_most(
    attempt: int, draw: Draw, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", draw)
    assert exponential(attempt, 20) == pytest.approx(share * (15 + 2**attempt))


def test_jitter_is_drawn_anew_each_time() -> None:
    assert len({exponential(10, 20) for _ in range(50)}) > 1


@pytest.mark.parametrize(("failures", "most"), [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (10**9, 5.0)])
@pytest.mark.parametrize(("draw", "share"), [(min, 0.5), (max, 1.0)], ids=["least", "most"])
def test_the_pause_before_a_reconnect_doubles_up_to_the_ceiling_and_half_of_it_is_random(
    failures: int, most: float, draw: Draw, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", draw)
    assert reconnect(failures) == pytest.approx(most * share)


def test_the_ceiling_of_a_reconnect_can_be_chosen() -> None:
    assert all(1.0 <= reconnect(30, ceiling=2.0) <= 2.0 for _ in range(50))
