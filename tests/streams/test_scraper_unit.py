"""The scraper: outputs of a callback and one Done for each input, pulled no faster than the sinks take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from reactivex.subject import Subject

from streamcrawl import Drop, Dropped, Failed, Request, Response
from streamcrawl.core import RUN, Done, Extent, Lease, Run, ScrapeLayer, Scraper
from streamcrawl.errors import CallbackError, ConnectError, HttpError
from streamcrawl.events import ItemDropped, ItemFailed
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.scrape_layer import ScrapeHooks, scrape_layer
from streamcrawl.streams.scraper import calling
from streamcrawl.testing import Chunks, virtual

URL = "http://a.test/"


class Noting(LocalRun):
    """A run that notes what was refused, and knows one link."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.refusals: list[Any] = []

    def known(self, request: Request) -> bool:
        return request.url.endswith("/known")

    def refused(self, outcome: Failed | Dropped) -> None:
        self.refusals.append(outcome)


class Scraped:
    """A scraper under a run of its own; what it emits is written down."""

    def __init__(
        self, callback: Any, *layers: ScrapeLayer, errback: Any = None, watch: Callable[[Any], None] | None = None
    ) -> None:
        self.run = Noting()
        self.watch = watch
        self.source: Subject[Any] = Subject()
        self.out: list[Any] = []
        self.ids: list[Any] = []
        self.completed = False
        scraper: Scraper = calling(callback, errback)
        for layer in reversed(layers):
            scraper = layer(scraper)
        token = RUN.set(self.run)
        scraper(self.source).subscribe(self._next, self.run.fail, self._end)
        RUN.reset(token)

    def _next(self, output: Any) -> None:
        self.out.append(output)
        if self.watch is not None:
            self.watch(output)
        extent = self.run.extent
        if extent is not None and isinstance(output, dict):
            self.ids.append(extent.identity(1))

    def _end(self) -> None:
        self.completed = True

    def send(self, *inputs: Any) -> Scraped:
        for input_ in inputs:
            self.source.on_next(input_)
        return self

    def leased(self, *inputs: Any) -> list[Lease]:
        leases: list[Lease] = []
        for n, input_ in enumerate(inputs, 1):
            leases.append(Lease(n, Request(URL), URL, lambda lease: None))
            self.run.extent = Extent((leases[-1],))
            self.source.on_next(input_)
            self.run.extent = None
        return leases

    async def end(self) -> list[Any]:
        self.source.on_completed()
        await asyncio.sleep(10.0)
        assert self.completed
        return self.out

    @property
    def items(self) -> list[Any]:
        return [output for output in self.out if isinstance(output, dict)]

    @property
    def dones(self) -> list[Done]:
        return [output for output in self.out if isinstance(output, Done)]

    @property
    def error(self) -> Exception | None:
        (done,) = self.dones
        return done.error


def page(**options: Any) -> Response:
    return Response(URL, request=Request(URL, **options))


def many(response: Response) -> Iterator[Any]:
    yield {"n": 1}
    yield Request(f"{URL}new")
    yield None
    yield Request(f"{URL}known")
    yield {"n": 2}


async def later(response: Response) -> list[Any]:
    await asyncio.sleep(1.0)
    return list(many(response))


async def one_by_one(response: Response) -> AsyncIterator[Any]:
    for output in many(response):
        await asyncio.sleep(1.0)
        yield output


async def generator_later(response: Response) -> Iterator[Any]:
    return many(response)


def many_at_once(response: Response) -> list[Any]:
    return list(many(response))


def giving(value: Any) -> Callable[[Response], Any]:
    """A callback that gives `value`."""

    def callback(response: Response) -> Any:
        return value

    return callback


@pytest.mark.parametrize("callback", [many, later, one_by_one, generator_later, many_at_once])
@virtual
async def test_outputs_come_in_order_and_one_done_after_the_last(callback: Any) -> None:
    scraped = Scraped(callback)
    response = page()
    out = await scraped.send(response).end()
    assert [each for each in out if isinstance(each, dict)] == [{"n": 1}, {"n": 2}]
    assert [each.url for each in out if isinstance(each, Request)] == [f"{URL}new"]
    assert isinstance(out[-1], Done)
    assert out[-1].input is response
    assert scraped.error is None
    assert len(out) == 4


@pytest.mark.parametrize("result", [None, [], iter(()), {"n": 1}, Request(f"{URL}x")])
@virtual
async def test_a_callback_may_return_one_or_nothing(result: Any) -> None:
    scraped = Scraped(giving(result)).send(page())
    assert scraped.out[:-1] == ([result] if isinstance(result, (dict, Request)) else [])
    assert scraped.error is None


@pytest.mark.parametrize("value", [42, "text", b"bytes", object(), 0, False])
@virtual
async def test_what_is_no_item_is_an_error_that_names_it_and_its_page(value: Any) -> None:
    scraped = Scraped(giving(value)).send(page())
    assert isinstance(scraped.error, CallbackError)
    assert f"the callback for {URL} returned {value!r} ({type(value).__name__}): an item is a dict" in str(
        scraped.error
    )
    scraped = Scraped(giving([{"n": 1}, value, {"n": 2}])).send(page())
    assert scraped.items == [{"n": 1}]
    assert f"yielded {value!r}" in str(scraped.error)


def broken(response: Response) -> Iterator[Any]:
    yield {"n": 1}
    raise KeyError("author")


async def broken_later(response: Response) -> AsyncIterator[Any]:
    yield {"n": 1}
    raise KeyError("author")


def broken_at_once(response: Response) -> None:
    raise KeyError("author")


async def broken_coroutine(response: Response) -> None:
    raise KeyError("author")


@pytest.mark.parametrize("callback", [broken, broken_later, broken_at_once, broken_coroutine])
@virtual
async def test_a_callback_that_raises_is_told_with_its_place(callback: Any) -> None:
    scraped = Scraped(callback)
    await scraped.send(page()).end()
    assert isinstance(scraped.error, CallbackError)
    assert f"the callback for {URL} raised KeyError: 'author' (" in str(scraped.error)
    assert "test_scraper_unit.py:" in str(scraped.error)
    assert str(scraped.error).endswith(f"in {callback.__name__})")
    assert isinstance(scraped.error.__cause__, KeyError)
    assert len(scraped.items) == (1 if callback in (broken, broken_later) else 0)


@virtual
async def test_what_the_library_raises_in_a_callback_stays_what_it_is() -> None:
    error = ConnectError("refused")

    async def callback(response: Response) -> None:
        raise error

    scraped = Scraped(callback)
    await scraped.send(page()).end()
    assert scraped.error is error


@virtual
async def test_a_request_may_have_its_own_callback_and_arguments() -> None:
    def own(response: Response, n: int) -> dict[str, int]:
        return {"n": n}

    scraped = Scraped(many).send(page(callback=own, cb_kwargs={"n": 7}))
    assert scraped.items == [{"n": 7}]
    scraped = Scraped(many).send(page(callback=own))
    assert "missing 1 required positional argument" in str(scraped.error)


@pytest.mark.parametrize(
    "outcome", [Failed(Request(URL), ConnectError("refused")), Dropped(Request(URL), "robots.txt")]
)
@virtual
async def test_failures_and_refusals_go_to_the_errback(outcome: Any) -> None:
    assert Scraped(many).send(outcome).out[0].input is outcome

    def kind(each: Any) -> dict[str, str]:
        return {"kind": type(each).__name__}

    def numbered(each: Any, n: int) -> dict[str, int]:
        return {"own": n}

    scraped = Scraped(many, errback=kind).send(outcome)
    assert scraped.items == [{"kind": type(outcome).__name__}]
    own = outcome.request.replace(errback=numbered, cb_kwargs={"n": 3})
    scraped = Scraped(many, errback=many).send(Dropped(own, "x"))
    assert scraped.items == [{"own": 3}]


@virtual
async def test_an_errback_is_given_those_of_the_keyword_arguments_that_it_takes() -> None:
    def none(failed: Any) -> Any:
        return {"n": failed.request.cb_kwargs["n"]}

    def some(failed: Any, *, n: int) -> Any:
        return {"n": n}

    def every(failed: Any, **kwargs: int) -> Any:
        return kwargs

    for errback, expected in ((none, {"n": 3}), (some, {"n": 3}), (every, {"n": 3, "m": 4}), (dict, {"n": 3, "m": 4})):
        request = Request(URL, errback=errback, cb_kwargs={"n": 3, "m": 4})
        outcome = Dropped(request, "x") if errback is not dict else Failed(request, ConnectError("refused"))
        scraped = Scraped(many).send(outcome)
        assert scraped.items == [expected] if errback is not dict else scraped.error is not None


@virtual
async def test_items_carry_the_lease_of_their_page_and_number_themselves() -> None:
    scraped = Scraped(many)
    leases = scraped.leased(page(), page())
    assert scraped.ids == [(1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0)]
    assert [lease.holds for lease in leases] == [1, 1]
    assert (scraped.run.extent, scraped.run.page) == (None, None)


@virtual
async def test_a_lease_is_held_while_an_item_is_handed_on() -> None:
    holds: list[int] = []
    scraped = Scraped(many, watch=lambda _: holds.append(leases[0].holds))
    leases = [Lease(1, Request(URL), URL, lambda lease: None)]
    scraped.run.extent = Extent((leases[0],))
    scraped.source.on_next(page())
    assert holds == [2, 1, 2, 1]  # item, Request, item, Done
    assert leases[0].holds == 1


def endless(response: Response) -> Iterator[Any]:
    n = 0
    try:
        while True:
            yield {"n": n}
            n += 1
    finally:
        response.meta["closed"] = True


async def endless_later(response: Response) -> AsyncIterator[Any]:
    n = 0
    try:
        while True:
            yield {"n": n}
            n += 1
    finally:
        response.meta["closed"] = True


@pytest.mark.parametrize("callback", [endless, endless_later])
@virtual
async def test_a_callback_waits_while_a_queue_is_full_and_is_closed_when_there_is_enough(callback: Any) -> None:
    def watch(output: Any) -> None:
        if isinstance(output, dict) and output["n"] % 5 == 4:
            scraped.run.congest(1)

    response = page(meta={})
    scraped = Scraped(callback, watch=watch)
    scraped.send(response)
    for count in (5, 10, 15):
        await asyncio.sleep(1.0)
        assert [item["n"] for item in scraped.items] == list(range(count))
        scraped.run.congest(-1)
    await asyncio.sleep(1.0)
    scraped.run.enough = True
    scraped.run.congest(-1)
    await asyncio.sleep(1.0)
    assert len(scraped.items) == 20
    assert response.meta == {"closed": True}
    assert scraped.error is None


def cannot_be_closed(response: Response) -> Iterator[Any]:
    try:
        while True:
            yield {"n": 1}
    finally:
        raise KeyError("clean-up")


async def cannot_be_closed_later(response: Response) -> AsyncIterator[Any]:
    try:
        while True:
            yield {"n": 1}
    finally:
        raise KeyError("clean-up")


@pytest.mark.parametrize("callback", [cannot_be_closed, cannot_be_closed_later])
@virtual
async def test_what_a_callback_raises_when_it_is_closed_is_its_own_failure(callback: Any) -> None:
    scraped = Scraped(callback, watch=lambda output: setattr(scraped.run, "enough", True))
    await scraped.send(page()).end()
    assert scraped.items == [{"n": 1}]
    assert "raised KeyError: 'clean-up'" in str(scraped.error)
    assert scraped.completed


@virtual
async def test_pages_that_waited_go_on_in_their_order() -> None:
    def two(response: Response) -> Iterator[Any]:
        yield {"page": response.url}
        yield {"page": response.url}

    scraped = Scraped(two)
    scraped.run.congest(1)
    scraped.send(*[Response(f"{URL}{n}") for n in range(3)])
    assert scraped.out == []
    scraped.run.congest(-1)
    await asyncio.sleep(1.0)
    assert [item["page"][-1] for item in scraped.items] == ["0", "0", "1", "1", "2", "2"]
    assert len(scraped.dones) == 3


@virtual
async def test_completion_waits_for_callbacks_under_way() -> None:
    scraped = Scraped(later).send(page())
    scraped.source.on_completed()
    assert not scraped.completed
    await asyncio.sleep(2.0)
    assert scraped.completed


# -- streamed bodies --------------------------------------------------------------------------------------------------


async def reads_some(response: Response) -> AsyncIterator[Any]:
    assert response.stream is not None
    async for chunk in response.stream:
        yield {"size": len(chunk)}
        break


async def breaks_off(response: Response) -> None:
    raise KeyError("author")


@pytest.mark.parametrize("callback", [giving(None), giving({"n": 1}), reads_some, breaks_off, broken_at_once])
@virtual
async def test_a_body_that_was_not_read_is_closed(callback: Any) -> None:
    chunks = Chunks(b"x" * 100, size=10)
    await Scraped(callback).send(Response(URL, stream=chunks)).end()
    assert chunks.closed


@virtual
async def test_a_body_refused_for_its_status_is_closed_after_the_errback() -> None:
    chunks = Chunks(b"not found")
    response = Response(URL, 404, stream=chunks)
    failed = Failed(response.request, HttpError(404, URL, response))

    async def errback(outcome: Any) -> dict[str, Any]:
        return {"body": await outcome.error.response.read()}

    scraped = Scraped(many, errback=errback)
    await scraped.send(failed).end()
    assert scraped.items == [{"body": b"not found"}]
    unread = Chunks(b"not found")
    other = Response(URL, 404, stream=unread)
    await Scraped(many).send(Failed(other.request, HttpError(404, URL, other))).end()
    assert unread.closed


# -- layers -----------------------------------------------------------------------------------------------------------


def hooked(**hooks: Any) -> ScrapeLayer:
    return scrape_layer("hooked", lambda run: ScrapeHooks(**hooks))


@virtual
async def test_layers_change_swallow_and_refuse_what_comes_out() -> None:
    inputs: list[Any] = []

    def item(output: dict[str, int], input_: Any) -> Any:
        inputs.append(input_)
        return None if output["n"] == 1 else {"n": output["n"] * 10}

    def request(output: Request, input_: Any) -> Any:
        inputs.append(input_)
        return output.replace(priority=9)

    response = page()
    scraped = Scraped(many, hooked(item=item, request=request)).send(response)
    assert scraped.items == [{"n": 20}]
    assert [each.priority for each in scraped.out if isinstance(each, Request)] == [9]
    assert inputs == [response] * 3
    assert len(scraped.dones) == 1


@virtual
async def test_what_a_layer_raises_for_an_output_is_that_outputs_failure() -> None:
    def refuse(output: Any, input_: Any) -> Any:
        raise Drop("too deep")

    def fail(output: Any, input_: Any) -> Any:
        raise KeyError("depth")

    told: list[Any] = []
    scraped = Scraped(many, hooked(item=refuse, request=fail))
    scraped.run.events.on(ItemDropped, told.append)
    scraped.send(page())
    assert [type(each) for each in scraped.run.refusals] == [Failed]
    assert "operator hooked: KeyError: 'depth'" in str(scraped.run.refusals[0].error)
    assert [event.reason for event in told] == ["too deep", "too deep"]
    scraped = Scraped(many, hooked(item=fail, request=refuse))
    scraped.run.events.on(ItemFailed, told.append)
    scraped.send(page())
    assert [type(each) for each in scraped.run.refusals] == [Dropped]
    assert len(told) == 4
    assert len(scraped.dones) == 1


@virtual
async def test_a_layer_may_turn_an_input_into_a_failure_or_fail_on_it() -> None:
    response = page()

    def fail(input_: Any) -> Any:
        raise KeyError("status")

    def errback(outcome: Failed | Dropped) -> dict[str, str]:
        return {"error": str(getattr(outcome, "error", outcome))}

    refused = Dropped(response.request, "not wanted")
    assert Scraped(many, hooked(input=giving(refused))).send(response).dones[0].input is refused
    scraped = Scraped(many, hooked(input=fail), errback=errback).send(response)
    assert scraped.items == [{"error": "operator hooked: KeyError: 'status'"}]


@virtual
async def test_layers_stand_around_each_other_and_keep_state_in_one_subscription() -> None:
    def counting(factor: int) -> ScrapeLayer:
        def make(run: Run) -> ScrapeHooks:
            seen = 0

            def item(output: dict[str, int], input_: Any) -> Any:
                nonlocal seen
                seen += 1
                return {"n": output["n"] * factor + seen}

            return ScrapeHooks(item=item)

        return scrape_layer("counting", make)

    outer, inner = counting(100), counting(10)
    for _ in range(2):
        assert Scraped(many, outer, inner).send(page()).items == [{"n": 1101}, {"n": 2202}]
    assert repr(outer) == "<scrape layer counting>"
