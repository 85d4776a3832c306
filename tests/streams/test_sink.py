"""A sink as an operator: in a run, and with no crawl around it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx
from reactivex.subject import Subject

from streamcrawl import Crawl, Drop
from streamcrawl import operators as ops
from streamcrawl.core import ItemId, OpenSink, Run
from streamcrawl.errors import SinkError
from streamcrawl.events import ItemDropped, ItemFailed
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing import FakeFetch, check_sink, page, run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)


class Keeping(SinkOperator):
    """Keeps what it accepts; `how` says what accept does."""

    def __init__(self, how: str = "sync", bad: Exception | None = None) -> None:
        self.how, self.bad = how, bad
        self.log: list[Any] = []
        self.ids: list[ItemId] = []

    def open(self, run: Run, token: Any = None) -> OpenSink:
        self.log.append("open")
        return self

    def accept(self, item: Any, item_id: ItemId) -> Any:
        return self._later(item, item_id) if self.how == "async" else self._now(item, item_id)

    async def _later(self, item: Any, item_id: ItemId) -> Any:
        await asyncio.sleep(0)
        return self._now(item, item_id)

    def _now(self, item: Any, item_id: ItemId) -> Any:
        if self.bad is not None and item["n"] == 2:
            raise self.bad
        self.log.append(item["n"])
        self.ids.append(item_id)
        return {**item, "kept": True} if item["n"] == 3 else None

    async def flush(self) -> None:
        self.log.append("flush")

    async def close(self) -> None:
        self.log.append("close")


def items(count: int = 3) -> Any:
    return reactivex.from_iterable([{"n": n} for n in range(1, count + 1)])


def parse(response: Any) -> Any:
    yield from ({"n": n} for n in (1, 2, 3))


def crawl(*operators: Any) -> Crawl[Any]:
    fetch = FakeFetch({"/": page()})
    return Crawl("http://a.test/").pipe(ops.download(*BARE, fetch=fetch), ops.scrape(parse), *operators)


PASSED = [{"n": 1}, {"n": 2}, {"n": 3, "kept": True}]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_in_a_run_it_accepts_passes_on_flushes_and_closes(how: str) -> None:
    sink = Keeping(how)
    assert run_virtual(crawl(sink).collect()) == PASSED
    assert sink.log == ["open", 1, 2, 3, "flush", "close"]
    assert sink.ids == [(1, 0, 0), (1, 1, 0), (1, 2, 0)]


def test_outputs_of_one_item_have_ids_of_their_own_and_each_sink_counts_for_itself() -> None:
    one, two = Keeping(), Keeping()
    run_virtual(crawl(rx.flat_map(twice), one, two).collect())
    assert one.ids == two.ids
    assert [(row, ordinal) for row, ordinal, _ in one.ids] == [(1, ordinal) for ordinal in range(3) for _ in range(2)]
    first, further = one.ids[0][2], one.ids[1][2]
    assert first == 0
    assert 0 < further < 2**62
    assert [number for _, _, number in one.ids] == [first, further] * 3


def twice(item: Any) -> Any:
    return reactivex.of(item, item)


def told(sink: Keeping) -> tuple[Any, list[Any], list[Any]]:
    async def main() -> tuple[Any, list[Any], list[Any]]:
        out: list[Any] = []
        events: list[Any] = []
        run = crawl(sink).start(on_item=out.append)
        run.events.on(ItemFailed, lambda event: events.append(event.error))
        run.events.on(ItemDropped, lambda event: events.append(event.reason))
        return await run, out, events

    return run_virtual(main())


@pytest.mark.parametrize("how", ["sync", "async"])
def test_an_item_that_a_sink_cannot_take_is_lost_alone(how: str) -> None:
    bad = ValueError("no author")
    summary, out, events = told(Keeping(how, bad))
    assert [item["n"] for item in out] == [1, 3]
    assert events == [bad]
    assert (summary.error, summary.stats["items_failed"]) == (None, 1)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_sink_may_drop_an_item(how: str) -> None:
    summary, out, events = told(Keeping(how, Drop("too old")))
    assert [item["n"] for item in out] == [1, 3]
    assert events == ["too old"]
    assert summary.stats["items_dropped/too old"] == 1
    assert summary.ok


@pytest.mark.parametrize("how", ["sync", "async"])
def test_lost_storage_stops_the_run(how: str) -> None:
    sink = Keeping(how, OSError("disk full"))
    summary, _, _ = told(sink)
    assert isinstance(summary.error, SinkError)
    assert str(summary.error) == "keeping: disk full"
    assert sink.log[-2:] == ["flush", "close"]


def test_a_run_that_is_cut_short_leaves_no_coroutine_behind() -> None:
    # An unawaited coroutine would be a RuntimeWarning, which is an error here.
    def fail(item: Any) -> Any:
        if item["n"] == 3:
            raise ValueError("three")
        return item

    sink = Keeping("async")

    async def main() -> Any:
        return await crawl(ops.strict(rx.map(fail)), sink).start()

    summary = run_virtual(main())
    gc.collect()
    assert "ValueError: three" in str(summary.error)
    assert sink.log[-2:] == ["flush", "close"]


def test_the_checker_passes_it() -> None:
    class Listing(Keeping):
        def _now(self, item: Any, item_id: ItemId) -> Any:
            return None

    assert check_sink(Listing("async"), at_once=True).offered > 0


# -- with no crawl around it ------------------------------------------------------------------------------------------


def without_loop(use: Callable[[], Any]) -> Any:
    return use()


def within_loop(use: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return use()

    return asyncio.run(main())


Way = Callable[[Callable[[], Any]], Any]
WAYS = pytest.mark.parametrize("way", [without_loop, within_loop])


def use(sink: Keeping, source: Any = None) -> tuple[list[Any], list[str], list[bool]]:
    out: list[Any] = []
    errors: list[str] = []
    ended: list[bool] = []

    def told(error: Exception) -> None:
        errors.append(str(error))

    (source or items()).pipe(sink).subscribe(out.append, told, lambda: ended.append(True))
    return out, errors, ended


@WAYS
@pytest.mark.parametrize("how", ["sync", "async"])
def test_alone_every_item_is_waited_for_and_at_the_end_it_is_closed(how: str, way: Way) -> None:
    sink = Keeping(how)
    assert way(lambda: use(sink)) == (PASSED, [], [True])
    assert sink.log == ["open", 1, 2, 3, "flush", "close"]


@WAYS
@pytest.mark.parametrize("how", ["sync", "async"])
def test_alone_what_it_raises_is_told_and_what_came_before_is_flushed(how: str, way: Way) -> None:
    sink = Keeping(how, OSError("disk full"))
    assert way(lambda: use(sink)) == ([{"n": 1}], ["disk full"], [])
    assert sink.log == ["open", 1, "flush", "close"]


@WAYS
def test_alone_an_error_of_the_source_closes_it_too(way: Way) -> None:
    sink = Keeping()
    source = reactivex.concat(items(1), reactivex.throw(ValueError("broken")))
    assert way(lambda: use(sink, source)) == ([{"n": 1}], ["broken"], [])
    assert sink.log == ["open", 1, "flush", "close"]


@WAYS
def test_alone_disposing_of_it_closes_it_once(way: Way) -> None:
    sink = Keeping("async")
    source: Subject[Any] = Subject()

    def leave() -> list[Any]:
        out: list[Any] = []
        subscription = source.pipe(sink).subscribe(out.append)
        source.on_next({"n": 1})
        subscription.dispose()
        subscription.dispose()
        source.on_next({"n": 2})
        return out

    assert way(leave) == [{"n": 1}]
    assert sink.log == ["open", 1, "flush", "close"]


def test_alone_two_subscriptions_open_it_twice() -> None:
    sink = Keeping()
    pipe = items(1).pipe(sink)
    pipe.subscribe()
    pipe.subscribe()
    assert sink.log == ["open", 1, "flush", "close"] * 2


def test_alone_one_that_cannot_be_opened_says_so() -> None:
    class Locked(Keeping):
        def open(self, run: Run, token: Any = None) -> OpenSink:
            raise SinkError("locked")

    assert use(Locked()) == ([], ["locked"], [])


def test_alone_a_flush_that_fails_is_told_and_it_is_closed_all_the_same() -> None:
    class Full(Keeping):
        async def flush(self) -> None:
            raise OSError("disk full")

    sink = Full()
    assert use(sink) == (PASSED, ["disk full"], [])
    assert sink.log[-1] == "close"


def test_one_that_does_not_say_how_it_is_opened_is_none() -> None:
    class Nothing(SinkOperator):
        pass

    out, errors, _ = use(Nothing())  # type: ignore[arg-type]  # that is the point
    assert (out, errors) == ([], ["Nothing does not say how it is opened"])


def test_a_flow_with_download_and_scrape_may_end_in_it(tmp_path: Any) -> None:
    fetch = FakeFetch({"/": page()})
    starts: Any = reactivex.of("http://a.test/")
    pipe = starts.pipe(ops.download(fetch=fetch), ops.scrape(parse), ops.feed(str(tmp_path / "a.jsonl")))
    out: list[Any] = []
    pipe.subscribe(out.append)
    assert [item["n"] for item in out] == [1, 2, 3]
    assert (tmp_path / "a.jsonl").read_text() == '{"n":1}\n{"n":2}\n{"n":3}\n'
