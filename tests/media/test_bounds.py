"""Bounds on bytes in hand: of decoded pictures, of bodies."""

from __future__ import annotations

import asyncio
import platform
import subprocess
import sys

import pytest

from streamcrawl.media.memory import Memory, give_back
from streamcrawl.media.room import Room


def test_small_pictures_share_and_one_large_one_goes_beside_them() -> None:
    async def main() -> None:
        memory = Memory(100)
        begun: list[str] = []
        gates = {name: asyncio.Event() for name in ("small", "large", "other", "third", "second large")}

        async def decode(name: str, cost: int) -> None:
            async with memory.of(cost):
                begun.append(name)
                await gates[name].wait()

        costs = {"small": 60, "large": 500, "second large": 101, "other": 40, "third": 1}
        tasks = [asyncio.create_task(decode(name, cost)) for name, cost in costs.items()]
        for _ in range(3):
            await asyncio.sleep(0)
        assert begun == ["small", "large", "other"], "the third and the second large one wait, each in its own line"
        assert repr(memory) == "<Memory <Room 100 of 100 bytes, 1 wait>, <Room 500 of 0 bytes, 1 wait> for large ones>"
        gates["large"].set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert begun[3:] == ["second large"]
        gates["other"].set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert begun[4:] == ["third"]
        for gate in gates.values():
            gate.set()
        await asyncio.gather(*tasks)
        assert memory.room.used == 0

    asyncio.run(main())


def test_large_ones_share_what_is_for_them() -> None:
    async def main() -> None:
        memory = Memory(100, 600)
        begun: list[int] = []
        gates = {cost: asyncio.Event() for cost in (300, 250, 900, 101)}

        async def decode(cost: int) -> None:
            async with memory.of(cost):
                begun.append(cost)
                await gates[cost].wait()

        tasks = [asyncio.create_task(decode(cost)) for cost in gates]
        for cost, then in ((0, [300, 250]), (250, [300, 250]), (300, [300, 250, 900]), (900, [300, 250, 900, 101])):
            if cost:
                gates[cost].set()
            for _ in range(5):
                await asyncio.sleep(0)
            assert begun == then
        gates[101].set()
        await asyncio.gather(*tasks)
        assert (memory.room.used, memory.large.used) == (0, 0)

    asyncio.run(main())


def test_an_error_lets_go() -> None:
    async def main() -> None:
        memory = Memory(100)
        for cost in (10, 1000):
            with pytest.raises(RuntimeError):
                async with memory.of(cost):
                    raise RuntimeError
        assert repr(memory) == "<Memory <Room 0 of 100 bytes, 0 wait>, <Room 0 of 0 bytes, 0 wait> for large ones>"
        give_back()

    asyncio.run(main())


APART = """
import ctypes, sys
from PIL import Image
from streamcrawl.media.memory import keep_apart

class Told(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Told
if sys.argv[1] == "apart":
    keep_apart()
before = mallinfo().hblkhd
for _ in range(2):
    image = Image.new("RGBA", (2000, 2000))
    print(mallinfo().hblkhd - before > 4 * 2000 * 2000)
    del image
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have another malloc")
@pytest.mark.parametrize(("how", "second"), [("apart", "True"), ("as it is", "False")])
def test_large_blocks_are_kept_apart_from_small_ones(how: str, second: str) -> None:
    told = subprocess.run([sys.executable, "-c", APART, how], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["True", second]


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


def test_when_the_first_in_the_line_is_cancelled_the_next_comes() -> None:
    async def main() -> None:
        room = Room(10)
        await room.take(5)
        large = asyncio.create_task(room.take(9))
        small = asyncio.create_task(room.take(5))
        await asyncio.sleep(0)
        assert repr(room) == "<Room 5 of 10 bytes, 2 wait>"
        large.cancel()
        await small  # nobody has let go
        assert repr(room) == "<Room 10 of 10 bytes, 0 wait>"

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
