"""Bounds on bytes in hand: of decoded pixels in threads, of bodies on the loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from streamcrawl.media.pixels import Budget
from streamcrawl.media.room import Room


def test_threads_never_hold_more_than_the_budget() -> None:
    budget, lock, held, most = Budget(100), threading.Lock(), [0], [0]
    random = Random(1)
    sizes = [random.randrange(1, 100) for _ in range(300)]

    def work(size: int) -> None:
        with budget.of(size):
            with lock:
                held[0] += size
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= size

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, sizes))
    assert 0 < most[0] <= 100
    assert budget.used == 0


def test_one_that_is_too_large_goes_alone_and_is_not_passed_for_ever() -> None:
    budget = Budget(100)
    order: list[str] = []
    first, large = threading.Event(), threading.Event()

    def hold(name: str, size: int, until: threading.Event) -> None:
        with budget.of(size):
            order.append(name)
            until.wait(10)

    threads = [threading.Thread(target=hold, args=("small", 60, first))]
    threads[0].start()
    while not order:
        pass
    for name, size in (("large", 500), ("late", 10)):
        threads.append(threading.Thread(target=hold, args=(name, size, large)))
        threads[-1].start()
        while len(repr(budget).split(", ")) < 2 or f"{len(threads) - 1} wait" not in repr(budget):
            pass
    assert order == ["small"], "the late one does not pass the large one, though there is room for it"
    first.set()
    while "large" not in order:
        pass
    assert budget.used == 500
    large.set()
    for thread in threads:
        thread.join()
    assert order == ["small", "large", "late"]
    assert repr(budget) == "<Budget 0 of 100 bytes, 0 wait>"


def test_an_error_gives_back() -> None:
    budget = Budget(100)
    with pytest.raises(RuntimeError), budget.of(90 * 1024 * 1024):
        raise RuntimeError
    assert budget.used == 0


def test_tasks_take_room_in_order() -> None:
    async def main() -> None:
        room = Room(100)
        order: list[str] = []

        async def take(name: str, size: int) -> None:
            await room.take(size)
            order.append(name)

        await take("a", 70)
        tasks = [asyncio.create_task(take(*each)) for each in (("b", 40), ("c", 10), ("d", 300), ("e", 1))]
        await asyncio.sleep(0)
        assert order == ["a"], "c would fit, and waits behind b"
        assert repr(room) == "<Room 70 of 100 bytes, 4 wait>"
        room.give(70)
        await asyncio.sleep(0)
        assert order == ["a", "b", "c"]
        room.grow(5)
        room.give(55)
        await asyncio.sleep(0)
        assert order == ["a", "b", "c", "d"], "too large: alone"
        room.give(300)
        await asyncio.gather(*tasks)
        room.give(1)
        assert (order[-1], room.used) == ("e", 0)

    asyncio.run(main())


def test_who_is_cancelled_in_the_line_takes_nothing() -> None:
    async def main() -> None:
        room = Room(10)
        await room.take(10)
        waiting = asyncio.create_task(room.take(5))
        behind = asyncio.create_task(room.take(6))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        room.give(10)
        await behind
        assert room.used == 6
        late = asyncio.create_task(room.take(5))
        await asyncio.sleep(0)
        room.give(6)  # it is let in, and cancelled before it hears of that
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        assert room.used == 0

    asyncio.run(main())
