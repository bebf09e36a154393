"""The learning rate over a run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abawcli.training.schedule import Schedule

SCHEDULES = st.builds(
    Schedule,
    epochs=st.just(1),
    warmup_steps=st.integers(0, 30),
    warmup_share=st.floats(0, 0.5),
    last_share=st.floats(0, 1),
)


def test_published_schedule_is_a_cosine() -> None:
    shares = [Schedule(3).find_share(step, 9) for step in range(9)]
    assert shares == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 9)) for k in range(9)])


def test_warm_up_rises_in_equal_steps_to_the_highest_rate() -> None:
    shares = [Schedule(1, warmup_steps=3).find_share(step, 100) for step in range(5)]
    assert shares[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert shares[4] < 1
    half = Schedule(1, warmup_share=0.5)
    assert half.find_share(5, 10) == 1 and half.find_share(4, 10) < 1


@given(SCHEDULES, st.integers(1, 200))
def test_the_rate_rises_then_falls_to_the_last_share(schedule: Schedule, steps: int) -> None:
    shares = [schedule.find_share(step, steps) for step in range(steps + 1)]
    top = shares.index(max(shares))
    assert all(a <= b + 1e-12 for a, b in zip(shares[:top], shares[1 : top + 1], strict=True))
    assert all(a >= b - 1e-12 for a, b in zip(shares[top:-1], shares[top + 1 :], strict=True))
    assert min(shares) >= 0 and max(shares) <= 1 + 1e-12
    if schedule.warmup_steps + round(schedule.warmup_share * steps) < steps:
        assert shares[-1] == pytest.approx(schedule.last_share)
