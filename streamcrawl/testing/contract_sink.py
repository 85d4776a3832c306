"""The contract checker for sinks (DESIGN §2, laws 5, 7 and 8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from inspect import isawaitable
from typing import Any, cast

from streamcrawl.core import RUN, Item, OpenSink, Sink
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.laws import LEFT, SAFE, STATE, VALUES, ContractBroken, Report
from streamcrawl.testing.virtual_time import run_virtual

Stored = Callable[[], Iterable[Item]]


def default_items() -> list[Item]:
    """Items as callbacks yield them."""
    texts = ["plain", "äöü – ✓ 🌍", "", 'quotes " and \\ and , ;', "two\nlines", "x" * 5000]
    return [{"number": number, "text": text} for number, text in enumerate(texts * 3)]


def check_sink(
    sink: Sink,
    *,
    items: Sequence[Item] | None = None,
    stored: Stored | None = None,
    at_once: bool = False,
) -> Report:
    """Prove that items come through a sink, are safe after a flush, and that two openings share nothing.

    Args:
        sink: The description that would stand in the pipe.
        items: What is given to it; some dicts if left out. At least 2.
        stored: Reads back what is stored; with it the checker proves that a flush makes safe, and, if `flush` gives a
            token, that opening at the token goes on exactly there.
        at_once: Also open it for two runs at the same time.

    Raises: ContractBroken, which names the law, the sink and the item; ValueError for less than 2 items.
    """
    given = default_items() if items is None else list(items)
    if len(given) < 2:
        raise ValueError(f"items has {len(given)}: the checker needs at least 2")
    check = _SinkCheck(sink, given, stored)
    run_virtual(check.all)
    if at_once:
        run_virtual(check.two_at_once)
    return check.report


class _SinkCheck:
    def __init__(self, sink: Sink, items: list[Item], stored: Stored | None) -> None:
        self.name = f"sink {getattr(sink, 'name', None) or type(sink).__name__}"
        self.report = Report(self.name)
        self._sink = sink
        self._items = items
        self._half = len(items) // 2
        self._stored = stored
        self._repr = repr(sink)

    async def all(self) -> None:
        """One opening after the other: a plain one, one resumed at its token, a plain one."""
        before = asyncio.all_tasks()
        token, first = await self._whole()
        if token is not None:
            await self._resumed(token)
        _, second = await self._whole(compare=False)
        if first != second:
            self._break(STATE, "passed on other items when it was opened again")
        for _ in range(5):
            await asyncio.sleep(0)
        if left := asyncio.all_tasks() - before:
            names = ", ".join(sorted(cast(Any, task.get_coro()).__qualname__ for task in left))
            self._break(LEFT, f"left {len(left)} tasks behind: {names}")
        if repr(self._sink) != self._repr:
            self._break(STATE, f"is changed by being used: it was {self._repr}", self._sink)

    async def _whole(self, *, compare: bool = True) -> tuple[Any, list[Item]]:
        """Accept all with a flush half-way; gives the token of the middle, and what was passed on."""
        opened = self._open()
        await self._do(opened.flush(), "flush with nothing accepted")
        passed = await self._accept(opened, 0, self._half)
        token = await self._do(opened.flush(), "flush")
        if compare:
            self._compare(self._half, "after a flush")
        passed += await self._accept(opened, self._half, len(self._items))
        await self._do(opened.flush(), "flush")
        await self._do(opened.flush(), "a flush right after another")
        if compare:
            self._compare(len(self._items), "after the last flush")
        await self._do(opened.close(), "close")
        if compare:
            self._compare(len(self._items), "after close")
        return token, passed

    async def _resumed(self, token: Any) -> None:
        """As after a crash: what came after the token is cut off, and comes again."""
        opened = self._open(token)
        passed = await self._accept(opened, self._half, len(self._items))
        await self._do(opened.flush(), "flush")
        if self._stored is not None and (number := len(list(self._stored()))) != len(self._items):
            what = f"opened at a token after {self._half} items and given the other {len(passed)}, stores {number}"
            self._break(SAFE, what)
        await self._do(opened.close(), "close")

    async def two_at_once(self) -> None:
        """Two runs with one description."""
        both = await asyncio.gather(self._whole(compare=False), self._whole(compare=False))
        if both[0][1] != both[1][1]:
            self._break(STATE, "passed on other items when it was open twice at once")

    def _open(self, token: Any = None) -> OpenSink:
        run = LocalRun(asyncio.get_running_loop(), seed=0)
        RUN.set(run)
        self.report.scenarios += 1
        try:
            return self._sink.open(run) if token is None else self._sink.open(run, token)
        except Exception as error:
            raise ContractBroken(VALUES, self.name, f"could not be opened: {error}") from error

    async def _accept(self, opened: OpenSink, begin: int, end: int) -> list[Item]:
        """Give it these items, as many at once as it takes; what it passes on, in order."""
        limit = asyncio.Semaphore(getattr(self._sink, "concurrency", 1))

        async def one(number: int) -> Item:
            async with limit:
                return await self._accept_one(opened, number)

        return list(await asyncio.gather(*map(one, range(begin, end))))

    async def _accept_one(self, opened: OpenSink, number: int) -> Item:
        item = self._items[number]
        self.report.offered += 1
        try:
            result: Any = opened.accept(item, (number + 1, 0, 0))
            if isawaitable(result):
                result = await result
        except Exception as error:
            raise ContractBroken(VALUES, self.name, f"raised {type(error).__name__}: {error}", element=item) from error
        self.report.came["passed on" if result is None else "replaced"] += 1
        return item if result is None else result

    async def _do(self, work: Any, what: str) -> Any:
        try:
            return await work
        except Exception as error:
            text = f"raised {type(error).__name__}: {error} in {what}"
            raise ContractBroken(VALUES, self.name, text) from error

    def _compare(self, number: int, when: str) -> None:
        if self._stored is None:
            return
        accepted = self._items[:number]
        stored = list(self._stored())
        for item in accepted:
            if item not in stored:
                self._break(SAFE, f"does not have an accepted item {when}", item)
        if len(stored) != len(accepted):
            self._break(SAFE, f"has {len(stored)} items {when}, and accepted {len(accepted)}")

    def _break(self, law: str, what: str, element: object = None) -> None:
        raise ContractBroken(law, self.name, what, element=element)
