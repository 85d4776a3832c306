"""A stage used alone: the small loop around it, and what of a run there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
import reactivex
from reactivex import Observable, abc
from reactivex.subject import Subject

from streamcrawl import Again, Failed, Request, Response
from streamcrawl.core import RUN, Layer, Outcome, Run
from streamcrawl.errors import ConnectError, FlowError, InvalidURL
from streamcrawl.events import Notice
from streamcrawl.streams.fetching import fetching
from streamcrawl.streams.layer import Hooks, layer, stack
from streamcrawl.streams.local import LocalRun, alone, by_itself, running
from streamcrawl.testing import FakeFetch, page, run_virtual, virtual

Fetch = Callable[[Request], Any]


class Alone:
    """A stage with no crawl around it."""

    def __init__(self, *layers: Layer, fetch: Any, source: Observable[Any]) -> None:
        self.out: list[Outcome] = []
        self.times: list[float] = []
        self.errors: list[Exception] = []
        self.over = asyncio.Event()
        stage = stack(*layers)(fetching(fetch))

        def subscribe(
            lower: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return alone(stage, source, lower)

        self.subscription = Observable(subscribe).subscribe(self._next, self._error, self.over.set)

    def _next(self, outcome: Outcome) -> None:
        self.out.append(outcome)
        self.times.append(asyncio.get_running_loop().time())

    def _error(self, error: Exception) -> None:
        self.errors.append(error)
        self.over.set()

    async def end(self) -> Alone:
        await self.over.wait()
        return self


def starts(*paths: str) -> Observable[Any]:
    return reactivex.from_iterable([f"http://a.test/{path}" for path in paths])


def again_until(attempt: int, wait: float = 0.0) -> Layer:
    """Sends each request again, so often."""

    def make(run: Run) -> Hooks:
        def up(outcome: Outcome) -> Outcome:
            origin = outcome.request.origin
            if origin.attempt >= attempt:
                return outcome
            following = origin.replace(attempt=origin.attempt + 1, not_before=run.now() + wait if wait else 0.0)
            return Again(outcome.request, following, "test")

        return Hooks(up=up)

    return layer("again", make)


@virtual
async def test_urls_serve_as_requests_and_what_is_no_url_fails() -> None:
    fetch = FakeFetch({"/": page("home")})
    source: Observable[Any] = reactivex.of("HTTP://A.test", Request("http://a.test/#x"), "nowhere", "http://[")
    run = await Alone(fetch=fetch, source=source).end()
    assert fetch.urls == ["http://a.test/", "http://a.test/#x"]
    failed = [outcome for outcome in run.out if isinstance(outcome, Failed)]
    assert [type(outcome.error) for outcome in failed] == [InvalidURL, InvalidURL]
    assert len(run.out) == 4


@virtual
async def test_again_is_sent_again_in_its_time_and_only_the_last_outcome_comes_out() -> None:
    fetch = FakeFetch({"/x": page("x")}, latency=1.0)
    run = await Alone(again_until(2, wait=10.0), fetch=fetch, source=starts("x")).end()
    assert fetch.times == [0.0, 11.0, 22.0]
    assert run.times == [23.0]
    assert [outcome.request.attempt for outcome in run.out] == [2]


@virtual
async def test_outcomes_have_their_request_without_what_layers_added() -> None:
    request = Request("http://a.test/x")

    def add_cookie(each: Request) -> Request:
        return each.replace(headers=each.headers.set("Cookie", "s=1"))

    add = layer("secret", lambda run: Hooks(down=add_cookie))
    for answer in (page("x"), ConnectError("refused")):
        fetch = FakeFetch({"/x": answer})
        run = await Alone(add, fetch=fetch, source=reactivex.of(request)).end()
        assert fetch.log[0][1].headers.get("cookie") == "s=1"
        (outcome,) = run.out
        assert outcome.request.lease is None
        assert "cookie" not in outcome.request.headers


@virtual
async def test_so_many_requests_go_at_once() -> None:
    fetch = FakeFetch({}, latency=1.0)
    run = await Alone(fetch=fetch, source=starts(*map(str, range(50)))).end()
    assert (len(run.out), fetch.most) == (50, 16)
    assert max(run.times) == 4.0


@virtual
async def test_a_host_that_is_slowed_down_waits_on_its_way_to_the_wire() -> None:
    def make(run: Run) -> Hooks:
        def up(outcome: Outcome) -> Outcome:
            run.hosts.slow_down("http://a.test", 30.0)
            run.hosts.slow_down("http://a.test", 5.0)
            return outcome

        return Hooks(up=up)

    fetch = FakeFetch({})
    source: Subject[Any] = Subject()
    run = Alone(layer("rest", make), fetch=fetch, source=source)
    await asyncio.sleep(0)
    source.on_next("http://a.test/1")
    await asyncio.sleep(1.0)
    source.on_next("http://a.test/2")
    source.on_next("http://b.test/")
    source.on_completed()
    await run.end()
    assert [(at, request.url[7:]) for at, request in fetch.log] == [
        (0.0, "a.test/1"),
        (1.0, "b.test/"),
        (30.0, "a.test/2"),
    ]


@virtual
async def test_an_error_of_the_source_is_told_and_ends_it() -> None:
    source: Subject[Any] = Subject()
    run = Alone(fetch=FakeFetch({}, latency=60.0), source=source)
    await asyncio.sleep(0)
    source.on_next("http://a.test/")
    source.on_error(OSError("the list is gone"))
    await run.end()
    assert [str(error) for error in run.errors] == ["the list is gone"]
    assert run.out == []


@virtual
async def test_an_empty_source_completes() -> None:
    run = await Alone(fetch=FakeFetch({}), source=reactivex.empty()).end()
    assert (run.out, run.errors) == ([], [])


class Opened:
    """A fetch that has something to close."""

    def __init__(self, latency: float = 0.0) -> None:
        self.fetch = FakeFetch({}, latency=latency)
        self.closed = 0

    def open(self, run: Run) -> Opened:
        return self

    async def __call__(self, request: Request) -> Response:
        return await self.fetch(request)

    async def aclose(self) -> None:
        self.closed += 1


@virtual
async def test_disposing_ends_what_is_under_way_and_closes_fetch() -> None:
    fetch = Opened(latency=60.0)
    before = asyncio.all_tasks()
    run = Alone(fetch=fetch, source=starts("1", "2"))
    await asyncio.sleep(1.0)
    assert fetch.fetch.active == 2
    run.subscription.dispose()
    run.subscription.dispose()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (fetch.fetch.active, fetch.closed, run.out, run.errors) == (0, 1, [], [])
    assert asyncio.all_tasks() == before


@virtual
async def test_fetch_is_closed_once_after_the_last_outcome() -> None:
    fetch = Opened()
    run = await Alone(fetch=fetch, source=starts("1", "2")).end()
    assert (len(run.out), fetch.closed) == (2, 1)


@virtual
async def test_it_completes_when_what_was_opened_is_closed() -> None:
    closed: list[float] = []

    def make(run: Run) -> Hooks:
        async def close() -> None:
            await asyncio.sleep(5.0)  # the last of it is written
            closed.append(run.monotonic())

        run.closing(close)
        return Hooks()

    await Alone(layer("slow to close", make), fetch=FakeFetch({}), source=starts("1")).end()
    assert len(closed) == 1


@virtual
async def test_a_closer_that_raises_is_told_and_the_others_are_called() -> None:
    closed: list[str] = []
    told: list[Notice] = []

    def closing(name: str, error: Exception | None = None) -> Layer:
        def make(run: Run) -> Hooks:
            async def close() -> None:
                closed.append(name)
                if error is not None:
                    raise error

            run.closing(close)
            cast(LocalRun, run).events.on(Notice, told.append)
            return Hooks()

        return layer(name, make)

    async def outer() -> list[Outcome]:
        layers = closing("first"), closing("second", OSError("no more")), closing("third")
        return (await Alone(*layers, fetch=FakeFetch({}), source=starts("x")).end()).out

    assert len(await outer()) == 1
    assert sorted(closed) == ["first", "second", "third"]
    assert {(notice.text, notice.level) for notice in told} == {("while closing: no more", "warning")}


@virtual
async def test_a_fetch_that_cannot_be_opened_is_told() -> None:
    class Broken(Opened):
        def open(self, run: Run) -> Opened:
            raise ValueError("no such proxy")

    run = await Alone(fetch=Broken(), source=starts("1")).end()
    assert [str(error) for error in run.errors] == ["no such proxy"]


@virtual
async def test_a_layer_may_fetch_and_its_hops_are_followed() -> None:
    fetched: list[Outcome] = []

    def make(run: Run) -> Hooks:
        async def down(request: Request) -> Request:
            if request.lease is not None and request.lease.reply is None:
                fetched.append(await run.fetch(Request("http://a.test/robots.txt"), request))
            return request

        return Hooks(down=down)

    fetch = FakeFetch({"/x": page("x")})
    run = await Alone(layer("asking", make), again_until(1, wait=5.0), fetch=fetch, source=starts("x")).end()
    assert [url.rpartition("/")[2] for url in fetch.urls] == [
        "robots.txt",
        "robots.txt",
        "x",
        "robots.txt",
        "robots.txt",
        "x",
    ]
    assert [type(outcome) for outcome in fetched] == [Response, Response]
    assert len(run.out) == 1


@virtual
async def test_with_nothing_to_fetch_with_a_nested_fetch_says_so() -> None:
    outcome = await LocalRun(asyncio.get_running_loop()).fetch(Request("http://a.test/x"))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, FlowError)
    assert "http://a.test/x" in str(outcome.error)
    assert "no download()" in str(outcome.error)


@virtual
async def test_closing_a_host_is_noted() -> None:
    hosts = LocalRun(asyncio.get_running_loop()).hosts
    hosts.close("http://a.test")
    hosts.open("http://a.test")
    hosts.open("http://b.test")
    hosts.close("http://c.test")
    hosts.set_rate("http://c.test", delay=1.0)
    assert hosts.closed == {"http://c.test"}


# -- operators that need a run ----------------------------------------------------------------------------------------


def noting(runs: list[Any]) -> Callable[[Observable[Any]], Observable[Any]]:
    """An operator that notes the run in which it is subscribed."""

    def operator(source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            runs.append(running())
            runs.append(running())
            return source.subscribe(lower)

        return Observable(subscribe)

    return operator


def itself(
    operator: Callable[[Observable[Any]], Observable[Any]], source: Observable[Any]
) -> tuple[list[Any], list[Exception], list[str]]:
    out: list[Any] = []
    errors: list[Exception] = []
    ended: list[str] = []

    def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        return by_itself(operator, source, lower)

    Observable(subscribe).subscribe(out.append, errors.append, lambda: ended.append("completed"))
    return out, errors, ended


@pytest.mark.parametrize("loop", [True, False])
def test_an_operator_by_itself_has_one_run_and_its_source_none(loop: bool) -> None:
    runs: list[Any] = []
    inside: list[Any] = []

    def source(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        inside.append(RUN.get(None))
        return reactivex.of(1, 2).subscribe(lower)

    async def main() -> tuple[list[Any], list[Exception], list[str]]:
        told = itself(noting(runs), Observable(source))
        await asyncio.sleep(1.0)
        return told

    told = run_virtual(main()) if loop else itself(noting(runs), Observable(source))
    assert told == ([1, 2], [], ["completed"])
    assert isinstance(runs[0], LocalRun)
    assert runs[0] is runs[1]
    assert inside == [None]
    assert RUN.get(None) is None


@pytest.mark.parametrize("source", [reactivex.of(1), reactivex.throw(OSError("gone"))], ids=["completed", "error"])
def test_an_operator_by_itself_ends_when_what_it_opened_is_closed(source: Observable[Any]) -> None:
    closed: list[bool] = []

    def operator(source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            async def close() -> None:
                await asyncio.sleep(5.0)
                closed.append(True)

            running().closing(close)
            return source.subscribe(lower)

        return Observable(subscribe)

    async def main() -> None:
        over = asyncio.Event()

        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            return by_itself(operator, source, lower)

        Observable(subscribe).subscribe(None, lambda error: over.set(), over.set)
        await over.wait()
        assert closed == [True]

    run_virtual(main())


def test_an_error_on_its_way_through_is_told() -> None:
    out, errors, ended = itself(noting([]), reactivex.throw(OSError("gone")))
    assert (out, [str(error) for error in errors], ended) == ([], ["gone"], [])


def test_a_task_of_its_that_fails_is_told() -> None:
    def operator(source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            async def work() -> None:
                raise ZeroDivisionError("a bug")

            running().spawn(work())
            return source.subscribe(lower.on_next)

        return Observable(subscribe)

    _, errors, _ = itself(operator, reactivex.of(1))
    assert [str(error) for error in errors] == ["a bug"]


def test_without_run_and_loop_there_is_nothing_to_run_in() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        running()
