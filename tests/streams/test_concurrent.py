"""Asynchronous work on a stream: so many at once, leases carried across, callbacks asked to pause."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex.subject import Subject

from streamcrawl import Request
from streamcrawl.core import LEASE, Extent, Lease
from streamcrawl.streams.concurrent import NOTHING, QUEUE, Work, concurrent
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import run_virtual, virtual


class Stage:
    """A concurrent operator in a run that notes congestion."""

    def __init__(self, work: Work, limit: int = 2) -> None:
        self.run = LocalRun(asyncio.get_running_loop())
        self.source: Subject[Any] = Subject()
        self.out: list[Any] = []
        self.extents: list[Extent | None] = []
        self.failures: list[tuple[Any, str]] = []
        self.completed = False
        self.leases: list[Lease] = []
        self.accepted: list[int] = []
        stream = concurrent(self.source, self.run, work, self._failure, limit, "work")
        stream.subscribe(self._next, on_completed=self._end)

    @property
    def tasks(self) -> set[asyncio.Task[Any]]:
        return self.run.tasks | self.run.item_tasks

    def _failure(self, element: Any, error: Exception) -> Any:
        self.failures.append((element, str(error)))
        return NOTHING if element % 2 else ("failed", element)

    def _next(self, element: Any) -> None:
        self.out.append(element)
        self.extents.append(self.run.extent)

    def _end(self) -> None:
        self.completed = True

    def send(self, *elements: Any) -> None:
        for element in elements:
            lease = Lease(len(self.leases), Request("http://a.test/"), "http://a.test", self._accept)
            self.leases.append(lease)
            self.run.extent = Extent((lease,), ordinal=element)
            self.source.on_next(element)
            self.run.extent = None
            lease.release()

    def _accept(self, lease: Lease) -> None:
        self.accepted.append(lease.id)


async def slowly(n: int, extent: Extent) -> int:
    await asyncio.sleep(n)
    return n * 10


@virtual
async def test_at_most_so_many_at_once_and_results_when_they_are_ready() -> None:
    stage = Stage(slowly, limit=2)
    stage.send(5, 1, 2)
    await asyncio.sleep(0.5)
    assert len(stage.tasks) == 2
    stage.source.on_completed()
    await asyncio.sleep(10.0)
    assert stage.out == [10, 20, 50]
    assert stage.completed


@virtual
async def test_one_at_once_keeps_the_order() -> None:
    stage = Stage(slowly, limit=1)
    stage.send(5, 1, 3)
    await asyncio.sleep(10.0)
    assert stage.out == [50, 10, 30]


@virtual
async def test_a_result_that_is_there_is_emitted_at_once_and_makes_no_task() -> None:
    stage = Stage(lambda n, extent: n + 1, limit=1)
    stage.send(1, 2)
    assert (stage.out, stage.tasks, stage.accepted) == ([2, 3], set(), [0, 1])
    stage.source.on_completed()
    assert stage.completed


@virtual
async def test_what_it_raises_at_once_or_later_is_that_elements_failure() -> None:
    async def later(n: int) -> int:
        await asyncio.sleep(1.0)
        raise ValueError(f"later {n}")

    def work(n: int, extent: Extent) -> Any:
        if n < 3:
            raise ValueError(f"at once {n}")
        return later(n)

    stage = Stage(work, limit=4)
    stage.send(1, 2, 3, 4)
    await asyncio.sleep(2.0)
    assert stage.failures == [(1, "at once 1"), (2, "at once 2"), (3, "later 3"), (4, "later 4")]
    assert stage.out == [("failed", 2), ("failed", 4)]
    assert stage.accepted == [0, 1, 2, 3]


@virtual
async def test_a_cancellation_out_of_the_work_is_a_failure_like_others() -> None:
    async def cancelled(n: int, extent: Extent) -> int:
        raise asyncio.CancelledError

    stage = Stage(cancelled, limit=1)
    stage.send(2, 4)
    stage.source.on_completed()
    await asyncio.sleep(1.0)
    assert stage.failures == [(2, "what it awaited was cancelled"), (4, "what it awaited was cancelled")]
    assert (stage.accepted, stage.completed) == ([0, 1], True)


@virtual
async def test_a_task_that_is_told_to_end_ends() -> None:
    stage = Stage(slowly, limit=1)
    stage.send(5)
    for task in stage.tasks:
        task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (stage.out, stage.failures, stage.tasks) == ([], [], set())


@virtual
async def test_a_task_that_never_began_leaves_no_coroutine_behind() -> None:
    # An unawaited coroutine would be a RuntimeWarning, which is an error here.
    stage = Stage(slowly, limit=1)
    stage.send(5)
    (task,) = stage.tasks
    task.cancel()
    await asyncio.wait([task])
    assert stage.out == []


@virtual
async def test_leases_are_held_until_the_result_is_with_what_follows() -> None:
    stage = Stage(slowly, limit=1)
    stage.send(1, 2)
    assert [lease.holds for lease in stage.leases] == [1, 1]
    await asyncio.sleep(1.5)
    assert stage.accepted == [0]
    await asyncio.sleep(2.0)
    assert stage.accepted == [0, 1]
    assert [extent.ordinal for extent in stage.extents if extent is not None] == [1, 2]
    assert stage.run.extent is None


@virtual
async def test_the_work_knows_for_which_lease_it_is() -> None:
    seen: list[int] = []

    async def work(n: int, extent: Extent) -> int:
        await asyncio.sleep(0)
        seen.append(LEASE.get().id)
        return n

    stage = Stage(work, limit=3)
    stage.send(1, 2, 3)
    await asyncio.sleep(1.0)
    assert seen == [0, 1, 2]
    assert LEASE.get(None) is None


@virtual
async def test_a_full_queue_asks_callbacks_to_pause_once_and_lets_them_go_once() -> None:
    stage = Stage(slowly, limit=1)
    heard: list[str] = []
    stage.run.on_room(lambda: heard.append("room"))
    stage.send(*[1] * QUEUE)
    assert stage.run.congestion == 0
    stage.send(1, 1, 1)
    assert stage.run.congestion == 1
    await asyncio.sleep(QUEUE // 2 + 1.5)
    assert (stage.run.congestion, heard) == (1, [])
    await asyncio.sleep(2.0)
    assert (stage.run.congestion, heard) == (0, ["room"])
    await asyncio.sleep(20.0)
    assert (len(stage.out), stage.run.congestion, heard) == (QUEUE + 3, 0, ["room"])


@virtual
async def test_what_arrives_with_no_lease_in_hand_is_worked_on_too() -> None:
    stage = Stage(slowly, limit=1)
    stage.source.on_next(1)
    stage.source.on_next(2)
    await asyncio.sleep(4.0)
    assert stage.out == [10, 20]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from((0.0, 1.0, 5.0)), st.sampled_from(["ok", "raise", "later"])), max_size=40),
    st.integers(1, 6),
    st.lists(st.sampled_from((0.0, 0.5, 3.0)), min_size=1, max_size=5),
)
def test_whatever_the_timing_every_element_comes_out_or_fails_once(
    plan: list[tuple[float, str]], limit: int, gaps: list[float]
) -> None:
    async def main() -> None:
        most = active = 0

        async def work(n: int, extent: Extent) -> int:
            nonlocal most, active
            seconds, how = plan[n]
            active += 1
            most = max(most, active)
            try:
                await asyncio.sleep(seconds)
            finally:
                active -= 1
            if how == "later":
                raise ValueError(str(n))
            return n

        def begin(n: int, extent: Extent) -> Any:
            if plan[n][1] == "raise":
                raise ValueError(str(n))
            return work(n, extent)

        stage = Stage(begin, limit)
        for n in range(len(plan)):
            stage.send(n)
            await asyncio.sleep(gaps[n % len(gaps)])
        stage.source.on_completed()
        await asyncio.sleep(1000.0)
        failed = [n for n, (_, how) in enumerate(plan) if how != "ok"]
        assert sorted(n for n, _ in stage.failures) == failed
        assert sorted(n for n in stage.out if isinstance(n, int)) == [n for n in range(len(plan)) if n not in failed]
        assert sorted(stage.accepted) == list(range(len(plan)))
        assert stage.completed
        assert most <= limit
        assert (stage.run.congestion, stage.tasks) == (0, set())

    run_virtual(main())


@pytest.mark.parametrize("limit", [1, 3])
@virtual
async def test_completion_waits_for_the_last_result(limit: int) -> None:
    stage = Stage(slowly, limit)
    stage.send(1, 2)
    stage.source.on_completed()
    await asyncio.sleep(1.5)
    assert not stage.completed
    await asyncio.sleep(5.0)
    assert stage.completed
