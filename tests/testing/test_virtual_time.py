from __future__ import annotations

import asyncio
import socket
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from streamcrawl import Crawl
from streamcrawl.streams.context import RunContext
from streamcrawl.testing.virtual_time import Deadlock, VirtualLoop, run_virtual, virtual


@pytest.fixture
def answer() -> int:
    return 42


def test_an_hour_takes_no_time() -> None:
    async def work() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.perf_counter()
    assert run_virtual(work()) == 3600.0
    assert time.perf_counter() - began < 30


def test_timers_fire_in_order_at_their_times() -> None:
    async def work() -> list[tuple[float, str]]:
        seen: list[tuple[float, str]] = []
        loop = asyncio.get_running_loop()

        async def wait(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            seen.append((loop.time(), name))

        await asyncio.gather(wait(3.5, "c"), wait(0.1, "a"), wait(0.1, "b"), wait(200_000.25, "d"))
        return seen

    assert run_virtual(work) == [(0.1, "a"), (0.1, "b"), (3.5, "c"), (200_000.25, "d")]


def test_timers_of_one_moment_fire_in_the_order_in_which_they_were_set() -> None:
    async def work() -> list[int]:
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(100):
            loop.call_at(5.0 if number % 3 else 4.0, seen.append, number)
        await asyncio.sleep(6)
        return seen

    numbers = range(100)
    assert run_virtual(work()) == [*(n for n in numbers if n % 3 == 0), *(n for n in numbers if n % 3)]


def test_late_in_the_year_the_clock_still_reaches_its_timers() -> None:
    async def work() -> int:
        await asyncio.sleep(300 * 86400 + 0.1)
        for _ in range(1000):
            await asyncio.sleep(1e-7)
        return 1000

    assert run_virtual(work()) == 1000


def test_timeouts_work() -> None:
    async def work() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 30)
        return asyncio.get_running_loop().time()

    assert run_virtual(work()) == 30.0


def test_the_date_is_fixed_and_moves_with_the_clock() -> None:
    async def work() -> tuple[float, float, float]:
        context = RunContext(asyncio.get_running_loop())
        first = context.now()
        await asyncio.sleep(86400)
        return first, context.now(), context.monotonic()

    first, second, monotonic = run_virtual(work())
    assert datetime.fromtimestamp(first, tz=UTC) == datetime(2030, 1, 1, tzinfo=UTC)
    assert second - first == monotonic == 86400.0


def test_deadlock_names_the_tasks_and_the_places() -> None:
    async def stuck_here() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await stuck_here()

    async def work() -> None:
        await asyncio.create_task(outer(), name="the culprit")

    with pytest.raises(Deadlock, match="nothing is ready and no timer is set; 2 tasks wait") as caught:
        run_virtual(work())
    text = str(caught.value)
    assert "the culprit (test_deadlock_names_the_tasks_and_the_places.<locals>.outer)" in text
    assert "main" in text
    assert "in Event.wait" in text


def test_a_task_that_will_not_be_cancelled_does_not_hang() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(Deadlock, match="stubborn"):
        run_virtual(stubborn())


def test_an_endless_timer_ends_at_the_limit() -> None:
    async def tick() -> None:
        while True:
            await asyncio.sleep(1)

    with pytest.raises(Deadlock, match="not done after 100 virtual seconds"):
        run_virtual(tick(), limit=100)


def test_threads_are_waited_for_and_time_stands_still() -> None:
    async def work() -> tuple[str, float]:
        gate = threading.Event()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(5, lambda: None)
        answer = asyncio.ensure_future(asyncio.to_thread(lambda: gate.wait(30) and "done"))
        await asyncio.sleep(0)
        threading.Timer(0.05, gate.set).start()
        text = await answer
        timer.cancel()
        return str(text), loop.time()

    assert run_virtual(work()) == ("done", 0.0)


def test_call_soon_threadsafe_wakes_the_loop() -> None:
    async def work() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(future.set_result, "hello"))
        thread.start()
        text = await future
        thread.join()
        return text

    assert run_virtual(work()) == "hello"


def test_a_thread_that_never_ends_is_told() -> None:
    gate = threading.Event()

    async def work() -> None:
        try:
            await asyncio.to_thread(gate.wait, 30)
        finally:
            gate.set()

    with pytest.raises(Deadlock, match="work in a thread has not ended"):
        run_virtual(work(), patience=0.01)


def test_an_error_in_a_callback_is_raised() -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        run_virtual(work())


def test_tasks_left_behind_are_cancelled_and_async_generators_closed() -> None:
    ended: list[str] = []

    async def numbers():  # type: ignore[no-untyped-def]  # pyright: ignore  # a generator of the simplest kind
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def sleeper() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append("task")

    kept: list[object] = []

    async def work() -> int:
        kept.append(asyncio.create_task(sleeper()))
        generator = numbers()  # type: ignore[no-untyped-call]
        kept.append(generator)
        return int(await anext(generator)) + await asyncio.sleep(0, 1)

    assert run_virtual(work()) == 2
    assert sorted(ended) == ["generator", "task"]


def test_real_input_and_output_are_refused() -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            await asyncio.get_running_loop().sock_recv(ours, 1)

    with pytest.raises(RuntimeError, match="serves no sockets"):
        run_virtual(work())


def test_within_a_running_loop_it_refuses_and_leaves_no_coroutine() -> None:
    async def inner() -> None:
        """Never run."""

    async def outer() -> None:
        run_virtual(inner())

    with pytest.raises(RuntimeError, match="another loop is running"):
        asyncio.run(outer())


@pytest.mark.parametrize("name", ["limit", "patience"])
def test_arguments_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1"):
        VirtualLoop(**{name: -1})


def test_what_is_no_coroutine_is_told() -> None:
    wrong: Any = Crawl("http://a.test/")
    with pytest.raises(TypeError, match=r"and not <Crawl .*: write run_virtual\(crawl\.collect\)"):
        run_virtual(wrong)
    wrong = 5
    with pytest.raises(TypeError, match=r"a function that makes one, and not 5$"):
        run_virtual(wrong)


def test_its_repr_shows_its_state() -> None:
    loop = VirtualLoop()
    assert repr(loop) == "<VirtualLoop at 0 s, idle, 0 calls in threads>"
    loop.close()
    assert "closed" in repr(loop)


@virtual
async def test_the_decorator_keeps_fixtures(answer: int) -> None:
    await asyncio.sleep(86400)
    assert answer == 42
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)


@virtual(limit=10)
async def test_the_decorator_takes_a_limit() -> None:
    await asyncio.sleep(9)
    assert asyncio.get_running_loop().time() == 9.0
