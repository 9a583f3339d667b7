"""Stages that succeed or end together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from updog.conveyor import Belt, Conveyor, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def nothing() -> None:
    """A tick and a wake that do nothing."""


def endless(belt: Belt[int]) -> Callable[[], None]:
    """A stage that waits for items until it is stopped."""

    def stage() -> None:
        while True:
            belt.get()

    return stage


def test_items_arrive_in_order() -> None:
    conveyor = Conveyor()
    belt: Belt[int] = conveyor.belt([1, 2])
    seen: list[int] = []

    def send() -> None:
        for number in range(3, 100):
            belt.put(number)

    conveyor.stage("send", send)
    conveyor.stage("take", lambda: seen.extend(belt.get() for _ in range(99)))
    conveyor.run(nothing, nothing)
    assert seen == list(range(1, 100))


def test_the_first_error_stops_all_and_is_raised_once() -> None:
    conveyor = Conveyor()
    belts: list[Belt[int]] = [conveyor.belt() for _ in range(3)]
    woken: list[str] = []
    for number, belt in enumerate(belts):
        conveyor.stage(f"waits {number}", endless(belt))

    def fails() -> None:
        raise ValueError("the first")

    conveyor.stage("fails", fails)
    with pytest.raises(ValueError, match="the first"):
        conveyor.run(nothing, lambda: woken.append("woken"))
    assert woken == ["woken"]


def test_a_later_error_does_not_replace_the_first() -> None:
    conveyor = Conveyor()
    belt: Belt[int] = conveyor.belt()

    def fails_when_stopped() -> None:
        try:
            belt.get()
        except Stopped:
            raise ValueError("the second") from None

    conveyor.stage("second", fails_when_stopped)
    conveyor.stop(KeyError("the first"))
    with pytest.raises(KeyError, match="the first"):
        conveyor.run(nothing, nothing)


def test_an_error_of_the_tick_stops_all() -> None:
    conveyor = Conveyor()
    conveyor.stage("waits", endless(conveyor.belt()))

    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conveyor.run(tick, nothing)


def test_a_wait_that_is_not_for_a_belt_is_ended_by_wake() -> None:
    conveyor = Conveyor()
    release = threading.Event()

    def wait_for_the_network() -> None:
        assert release.wait(30)

    conveyor.stage("waits for the network", wait_for_the_network)

    def tick() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        conveyor.run(tick, release.set)


def test_what_waits_is_taken_together() -> None:
    conveyor = Conveyor()
    belt = conveyor.belt([1, 2, 3])
    assert belt.waiting() == [1, 2, 3]
    assert belt.waiting() == []
    belt.put(4)
    conveyor.stop(ValueError())
    with pytest.raises(Stopped):
        belt.waiting()
