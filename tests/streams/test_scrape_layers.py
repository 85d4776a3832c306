"""What layers around a callback may do: refuse inputs, take its outputs as a whole, and what it raises.

The order of things is that of Scrapy's spider middlewares: layers are given the outermost first, as there by number.
"""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import Crawl, Drop, Dropped, Failed, Request, Response, fetch
from streamcrawl import operators as ops
from streamcrawl.core import Done, ScrapeInput, ScrapeLayer, Scraper
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import ConnectError, FlowError, HttpError, OperatorError
from streamcrawl.events import CallbackFailed, Notice, RequestFailed
from streamcrawl.streams.scrape_layer import InvalidOutput, ScrapeHooks, scrape_layer
from streamcrawl.streams.starting import start_through
from streamcrawl.testing import Chunks, FakeFetch, run_virtual, virtual

URL = "http://a.test/"
BARE = ops.default_layers(robots_txt=None, retry=None)


class Seen:
    """What came of a crawl of one page."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.errors: list[Exception] = []
        self.failed: list[Failed] = []
        self.summary: Summary

    @property
    def error(self) -> str:
        (error,) = self.errors
        return str(error)

    @property
    def cause(self) -> BaseException | None:
        (error,) = self.errors
        return error.__cause__


def crawled(
    callback: Any, *layers: ScrapeLayer, errback: Any = None, site: Any = None, start: Any = URL, **options: Any
) -> Seen:
    seen = Seen()
    fetch = FakeFetch(site or {"/": "home", "/1": "1", "/2": "2"})
    crawl = Crawl(start, **options).pipe(
        ops.download(*BARE, fetch=fetch), ops.scrape(callback, *layers, errback=errback, defaults=False)
    )

    async def main() -> Summary:
        run = crawl.start(on_item=seen.items.append)
        run.events.on(CallbackFailed, lambda event: seen.errors.append(event.error))
        run.events.on(RequestFailed, lambda event: seen.failed.append(event.failed))
        return await run

    seen.summary = run_virtual(main)
    assert seen.summary.balanced
    return seen


def hooked(name: str, **hooks: Any) -> ScrapeLayer:
    return scrape_layer(name, lambda run: ScrapeHooks(**hooks))


def tagging(name: str) -> ScrapeLayer:
    """Adds its name to what passes, and one item of its own at the end."""

    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        async for output in outputs:
            yield output | {"by": [*output["by"], name]} if isinstance(output, dict) else output
        yield {"end": name, "by": []}

    return hooked(name, output=output)


def asking(name: str, log: list[Any], answer: Any = None) -> ScrapeLayer:
    """Notes the exceptions that it is asked about, and gives `answer`."""

    def exception(error: Exception, page: ScrapeInput) -> Any:
        log.append((name, str(error)))
        return answer

    return hooked(name, exception=exception)


def two(page: Response) -> Iterator[Any]:
    yield {"n": 1, "by": []}
    yield {"n": 2, "by": []}


def breaking(page: Response) -> Iterator[Any]:
    yield {"n": 1, "by": []}
    raise ValueError("broken")


async def breaking_later(page: Response) -> AsyncIterator[Any]:
    yield {"n": 1, "by": []}
    await asyncio.sleep(1)
    raise ValueError("broken")


def breaking_at_once(page: Response) -> None:
    raise ValueError("broken")


async def breaking_coroutine(page: Response) -> None:
    await asyncio.sleep(1)
    raise ValueError("broken")


BREAKING = pytest.mark.parametrize("callback", [breaking, breaking_later, breaking_at_once, breaking_coroutine])


# -- inputs -----------------------------------------------------------------------------------------------------------


def test_inputs_are_shown_from_the_outermost_inwards() -> None:
    log: list[str] = []

    def noting(name: str) -> ScrapeLayer:
        def given(page: ScrapeInput) -> ScrapeInput:
            log.append(name)
            return page

        return hooked(name, input=given)

    crawled(two, noting("outer"), noting("middle"), noting("inner"))
    assert log == ["outer", "middle", "inner"]


def refusing(error: Exception) -> ScrapeLayer:
    def given(page: ScrapeInput) -> ScrapeInput:
        raise error

    return hooked("refusing", input=given)


@pytest.mark.parametrize("whole", [False, True])
def test_a_refused_page_goes_to_the_errback_and_layers_further_in_are_not_asked(whole: bool) -> None:
    log: list[str] = []
    taken: list[Any] = []

    def given(page: ScrapeInput) -> ScrapeInput:
        log.append("inner")
        return page

    def errback(failed: Failed) -> dict[str, Any]:
        taken.append(failed)
        return {"lost": str(failed.error), "by": []}

    outer = tagging("outer") if whole else hooked("outer")
    seen = crawled(two, outer, refusing(KeyError("no")), hooked("inner", input=given), errback=errback)
    assert log == []
    (failed,) = taken
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, OperatorError)
    assert isinstance(failed.error.error, KeyError)
    assert seen.items[0] == {"lost": "operator refusing: KeyError: 'no'", "by": ["outer"] if whole else []}
    assert len(seen.items) == (2 if whole else 1)
    assert [each.error for each in seen.failed] == [failed.error]


def test_without_an_errback_all_layers_are_asked_about_a_refusal_the_innermost_first() -> None:
    log: list[Any] = []
    error = KeyError("no")
    seen = crawled(two, asking("outer", log), refusing(error), asking("middle", log), asking("inner", log))
    assert log == [(name, "'no'") for name in ("inner", "middle", "outer")]
    assert seen.items == []
    assert seen.errors == []
    (failed,) = seen.failed
    assert isinstance(failed.error, OperatorError)
    log.clear()
    seen = crawled(
        two, tagging("outer"), refusing(error), asking("middle", log, [{"n": 0, "by": []}]), tagging("inner")
    )
    assert log == [("middle", "'no'")]
    assert seen.items == [{"n": 0, "by": ["outer"]}, {"end": "outer", "by": []}]


def test_layers_are_shown_the_page_that_was_refused() -> None:
    shown: list[Any] = []

    def exception(error: Exception, page: ScrapeInput) -> None:
        shown.append(page)

    crawled(two, hooked("outer", exception=exception), refusing(KeyError("no")))
    assert isinstance(shown[0], Response)
    assert shown[0].url == URL


def test_a_layer_may_say_dropped_or_give_a_failure_instead_of_raising() -> None:
    log: list[Any] = []

    def dropped(page: ScrapeInput) -> ScrapeInput:
        return Dropped(page.request, "not wanted")

    def failed(page: ScrapeInput) -> ScrapeInput:
        return Failed(page.request, ConnectError("as if"))

    seen = crawled(two, asking("outer", log), hooked("refusing", input=dropped))
    assert log == [("outer", "not wanted")]
    assert seen.summary.counts.dropped == {"not wanted": 1}
    crawled(two, asking("outer", log), hooked("refusing", input=failed))
    assert log[1:] == [("outer", "as if")]


def test_a_failed_download_without_an_errback_is_no_exception() -> None:
    log: list[Any] = []
    seen = crawled(two, asking("outer", log), site={"/": ConnectError("refused")})
    assert log == []
    assert len(seen.failed) == 1


def test_an_errback_that_raises_is() -> None:
    log: list[Any] = []

    def errback(failed: Failed) -> None:
        raise ValueError("broken")

    seen = crawled(
        two, asking("outer", log, [{"n": 9}]), hooked("in"), errback=errback, site={"/": ConnectError("refused")}
    )
    assert log == [("outer", "broken")]
    assert seen.items == [{"n": 9}]


def test_an_input_that_is_none_is_an_error_that_nobody_may_mend() -> None:
    log: list[Any] = []

    def wrong(page: ScrapeInput) -> Any:
        return None

    def errback(failed: Failed) -> None:
        log.append("errback")

    seen = crawled(two, asking("outer", log, []), hooked("wrong", input=wrong), errback=errback)
    assert log == []
    assert "layer wrong gave None" in seen.error
    assert isinstance(seen.errors[0], InvalidOutput)


# -- outputs as a whole -----------------------------------------------------------------------------------------------


def test_outputs_pass_from_the_innermost_outwards() -> None:
    seen = crawled(two, tagging("outer"), tagging("inner"))
    assert seen.items == [
        {"n": 1, "by": ["inner", "outer"]},
        {"n": 2, "by": ["inner", "outer"]},
        {"end": "inner", "by": ["outer"]},
        {"end": "outer", "by": []},
    ]
    assert seen.errors == []


def test_single_output_hooks_stand_where_their_layer_stands() -> None:
    def adding(name: str) -> ScrapeLayer:
        def item(output: Any, page: ScrapeInput) -> Any:
            return None if output.get("end") == "drop" else output | {"by": [*output["by"], name]}

        return hooked(name, item=item)

    seen = crawled(two, adding("d"), tagging("c"), adding("b"), tagging("drop"), adding("a"))
    assert seen.items == [
        {"n": 1, "by": ["a", "drop", "b", "c", "d"]},
        {"n": 2, "by": ["a", "drop", "b", "c", "d"]},
        {"end": "c", "by": ["d"]},
    ]


@pytest.mark.parametrize("inside", [False, True])
def test_what_a_single_output_hook_refuses_is_that_outputs_affair(inside: bool) -> None:
    def request(link: Request, page: ScrapeInput) -> Request:
        if link.url.endswith("/1"):
            raise Drop("not this one")
        return link

    def item(output: Any, page: ScrapeInput) -> Any:
        raise KeyError("n")

    def callback(page: Response) -> Iterator[Any]:
        yield page.follow("/1", errback=told)
        yield {"n": 1, "by": []}

    def told(dropped: Dropped) -> dict[str, Any]:
        return {"told": dropped.reason, "by": []}

    log: list[Any] = []
    refusing = hooked("refusing", request=request)
    layers = (tagging("whole"), refusing) if inside else (refusing, tagging("whole"))
    seen = crawled(callback, asking("outer", log), *layers)
    assert {"n": 1, "by": ["whole"]} in seen.items
    assert {"told": "not this one", "by": ["whole"]} in seen.items
    assert seen.summary.counts.dropped == {"not this one": 1}
    seen = crawled(two, asking("outer", log), hooked("failing", item=item))
    assert seen.items == []
    assert seen.summary.stats["items_failed"] == 2
    assert log == []


ONE: dict[str, Any] = {"n": 1, "by": []}
RESULTS: list[Any] = [None, ONE, [ONE], iter([None, ONE])]


@pytest.mark.parametrize("result", RESULTS)
def test_whatever_a_callback_gives_is_seen_as_a_stream(result: Any) -> None:
    async def callback(page: Response) -> Any:
        return result

    seen = crawled(callback, tagging("layer"))
    assert seen.items == [
        *([] if result is None else [{"n": 1, "by": ["layer"]}]),
        {"end": "layer", "by": []},
    ]


def test_a_layer_may_fetch_while_it_looks_at_outputs() -> None:
    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        async for each in outputs:
            more = await fetch(f"{URL}{each['n']}")
            yield {"n": each["n"], "text": more.text}

    seen = crawled(two, hooked("fetching", output=output))
    assert seen.items == [{"n": 1, "text": "1"}, {"n": 2, "text": "2"}]
    assert seen.summary.counts.offered.nested == 2


def test_it_sees_links_that_are_known_too_and_they_are_counted_once() -> None:
    links: list[str] = []

    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        async for each in outputs:
            links.append(each.url)
            yield each

    def callback(page: Response) -> Iterator[Any]:
        if page.url == URL:
            yield from (page.follow("/1"), page.follow("/1"), page.follow("/"))

    seen = crawled(callback, hooked("looking", output=output))
    assert links == [f"{URL}1", f"{URL}1", URL]
    assert seen.summary.counts.dropped == {"duplicate": 2}
    assert seen.summary.pages == 2


@pytest.mark.parametrize(
    ("give", "said"),
    [
        ([{"n": 1}], r"layer wrong gave \[{'n': 1}\], which is no async iterator"),
        (None, "layer wrong gave None, which is no async iterator"),
    ],
)
def test_what_is_no_async_iterator_is_an_error_that_nobody_may_mend(give: Any, said: str) -> None:
    def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> Any:
        return give

    log: list[Any] = []
    seen = crawled(two, asking("outer", log, []), hooked("wrong", output=output))
    assert (seen.items, log) == ([], [])
    assert isinstance(seen.errors[0], InvalidOutput)
    assert re.match(said, seen.error)


@pytest.mark.parametrize("value", ["text", 5, [{"n": 1}]])
def test_an_output_of_a_layer_that_is_no_item_too(value: Any) -> None:
    log: list[Any] = []

    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        yield {"n": 0}
        yield value

    async def forgiving(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        try:
            async for each in outputs:
                yield each
        except Exception:
            yield {"n": 7}

    def callback(page: Response) -> Iterator[Any]:
        yield from ({"n": 0}, value)

    seen = crawled(two, asking("outer", log, []), hooked("forgiving", output=forgiving), hooked("wrong", output=output))
    assert log == []
    assert seen.items == [{"n": 0}, {"n": 7}]
    assert f"layer wrong for {URL} yielded {value!r}" in seen.error
    log.clear()
    seen = crawled(callback, asking("outer", log, []))
    assert (seen.items, log) == ([{"n": 0}], [])
    assert f"the callback for {URL} yielded {value!r}" in seen.error


def generator(outputs: Any, page: ScrapeInput) -> Iterator[Any]:
    yield {"n": 1}


async def coroutine(outputs: Any, page: ScrapeInput) -> None: ...


@pytest.mark.parametrize("output", [generator, coroutine])
def test_a_hook_that_cannot_be_an_async_generator_is_told_when_the_run_begins(output: Any) -> None:
    with pytest.raises(TypeError, match=r"the output hook of wrong.*is no async generator"):
        Crawl(URL).pipe(ops.download(fetch=FakeFetch({})), ops.scrape(two, hooked("wrong", output=output))).run()


# -- exceptions -------------------------------------------------------------------------------------------------------


@BREAKING
@pytest.mark.parametrize("answer", [None, [], [{"n": 9, "by": []}]])
def test_what_a_callback_raises_is_offered_outwards_until_one_gives_outputs(callback: Any, answer: Any) -> None:
    log: list[Any] = []
    seen = crawled(
        callback, asking("outer", log, []), tagging("tag"), asking("middle", log, answer), asking("inner", log)
    )
    first = [{"n": 1, "by": ["tag"]}] if callback in (breaking, breaking_later) else []
    assert seen.items[: len(first)] == first  # what was yielded stays yielded
    assert log[0] == ("inner", "broken")
    assert log[1] == ("middle", "broken")
    assert log[2:] == ([] if answer is not None else [("outer", "broken")])
    assert seen.errors == []
    expected = [{"n": 9, "by": ["tag"]}] if answer else []
    assert [item for item in seen.items if item.get("n") == 9] == expected


@BREAKING
def test_with_nobody_to_take_it_it_is_the_callbacks_error(callback: Any) -> None:
    log: list[Any] = []
    seen = crawled(callback, asking("outer", log), asking("inner", log))
    assert log == [("inner", "broken"), ("outer", "broken")]
    assert f"the callback for {URL} raised ValueError: broken (" in seen.error
    assert seen.error.endswith(f"in {callback.__name__})")
    assert isinstance(seen.cause, ValueError)
    assert seen.items == ([{"n": 1, "by": []}] if callback in (breaking, breaking_later) else [])


def test_outputs_instead_go_on_at_the_next_layer_outward_after_what_the_page_gave() -> None:
    log: list[Any] = []
    instead: list[Any] = [{"n": 9, "by": []}]
    seen = crawled(breaking, tagging("outer"), asking("middle", log, instead), tagging("inner"))
    assert seen.items == [
        {"n": 1, "by": ["inner", "outer"]},
        {"end": "inner", "by": ["outer"]},
        {"end": "outer", "by": []},
        {"n": 9, "by": ["outer"]},
        {"end": "outer", "by": []},
    ]


async def later(error: Exception, page: ScrapeInput) -> Any:
    await asyncio.sleep(5)
    return [{"n": 9}]


async def one_by_one(error: Exception, page: ScrapeInput) -> AsyncIterator[Any]:
    await asyncio.sleep(5)
    yield {"n": 9}


def at_once(error: Exception, page: ScrapeInput) -> Iterator[Any]:
    yield {"n": 9}


@pytest.mark.parametrize("exception", [later, one_by_one, at_once])
def test_outputs_instead_may_come_in_any_way(exception: Any) -> None:
    seen = crawled(breaking_at_once, hooked("mending", exception=exception))
    assert seen.items == [{"n": 9}]
    assert seen.errors == []


def test_what_a_layer_raises_is_offered_to_those_around_it_only() -> None:
    log: list[Any] = []

    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        async for each in outputs:
            yield each
            raise KeyError("mine")

    def own(error: Exception, page: ScrapeInput) -> Any:
        log.append("own")
        return []

    layer = hooked("raising", output=output, exception=own)
    seen = crawled(two, asking("outer", log, [{"n": 9}]), layer, asking("inner", log, []))
    assert seen.items == [{"n": 1, "by": []}, {"n": 9}]
    assert log == [("outer", "'mine'")]
    log.clear()
    seen = crawled(two, asking("outer", log), layer, asking("inner", log, []))
    assert f"layer raising for {URL} raised KeyError: 'mine' (" in seen.error
    assert seen.error.endswith("in output)")
    assert seen.items == [{"n": 1, "by": []}]


def test_each_layer_is_asked_once_about_an_exception_however_many_generators_let_it_through() -> None:
    log: list[Any] = []

    def passing(name: str) -> ScrapeLayer:
        async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
            async for each in outputs:
                yield each

        def exception(error: Exception, page: ScrapeInput) -> None:
            log.append(name)

        return hooked(name, output=output, exception=exception)

    seen = crawled(breaking, passing("c"), passing("b"), passing("a"))
    assert log == ["a", "b", "c"]
    assert seen.items == [{"n": 1, "by": []}]
    assert "the callback for" in seen.error


def test_a_generator_may_catch_what_nobody_has_taken() -> None:
    log: list[Any] = []

    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        try:
            async for each in outputs:
                yield each
        except ValueError as error:
            yield {"caught": str(error)}

    seen = crawled(breaking, asking("outer", log), hooked("catching", output=output), asking("inner", log))
    assert log == [("inner", "broken"), ("outer", "broken")]
    assert seen.items == [{"n": 1, "by": []}, {"caught": "broken"}]
    assert seen.errors == []


def test_a_generator_sees_the_end_if_somebody_has() -> None:
    ends: list[str] = []

    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        try:
            async for each in outputs:
                yield each
            ends.append("end")
        except ValueError:
            ends.append("error")

    crawled(breaking, asking("outer", [], []), hooked("looking", output=output))
    assert ends == ["end"]


def test_an_exception_of_an_exception_hook_takes_the_first_ones_place() -> None:
    log: list[Any] = []

    def worse(error: Exception, page: ScrapeInput) -> Any:
        raise KeyError("worse") from error

    seen = crawled(breaking, asking("outer", log), hooked("worse", exception=worse), asking("inner", log))
    assert log == [("inner", "broken"), ("outer", "'worse'")]
    assert f"layer worse for {URL} raised KeyError: 'worse'" in seen.error


def test_what_breaks_off_in_outputs_given_instead_is_offered_further_out() -> None:
    log: list[Any] = []

    def instead(error: Exception, page: ScrapeInput) -> Iterator[Any]:
        yield {"n": 8}
        raise KeyError("again")

    seen = crawled(
        breaking, asking("outer", log, [{"n": 9}]), hooked("mending", exception=instead), asking("inner", log)
    )
    assert log == [("inner", "broken"), ("outer", "'again'")]
    assert [item["n"] for item in seen.items] == [1, 8, 9]
    assert seen.errors == []


@pytest.mark.parametrize("answer", [5, "text", {"n": 1}, Request(URL), True])
def test_a_wrong_answer_to_an_exception_is_an_error_that_nobody_may_mend(answer: Any) -> None:
    log: list[Any] = []
    seen = crawled(breaking, asking("outer", log, []), asking("wrong", [], answer))
    assert log == []
    assert f"layer wrong gave {answer!r} instead of an exception" in seen.error
    assert isinstance(seen.errors[0], InvalidOutput)


def test_a_drop_raised_by_a_callback_is_offered_and_else_counted() -> None:
    def callback(page: Response) -> None:
        raise Drop("nothing here")

    log: list[Any] = []
    seen = crawled(callback, asking("layer", log))
    assert log == [("layer", "nothing here")]
    assert seen.errors == []
    assert seen.summary.stats["callback_dropped/nothing here"] == 1


def test_the_status_that_http_error_refuses_is_an_exception_too() -> None:
    log: list[Any] = []
    seen = crawled(two, ops.http_error(), asking("inner", log, [{"n": 0}]), site={"/other": ""})
    assert log == [("inner", f"HTTP status 404 from {URL}")]
    assert seen.items == [{"n": 0}]
    assert isinstance(seen.failed[0].error, HttpError)


# -- demand, leases, ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [True, False])
def test_generators_are_asked_no_faster_than_the_sinks_take(sync: bool) -> None:
    given = 0
    closed: list[str] = []

    def endless(page: Response) -> Iterator[Any]:
        nonlocal given
        try:
            while True:
                given += 1
                yield {"n": given, "by": []}
        finally:
            closed.append("callback")

    async def endless_later(page: Response) -> AsyncIterator[Any]:
        for output in endless(page):
            yield output

    def passing(name: str) -> ScrapeLayer:
        async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
            try:
                async for each in outputs:
                    yield each
            finally:
                closed.append(name)

        return hooked(name, output=output)

    async def slow(item: Any) -> Any:
        await asyncio.sleep(1)
        return item

    scrape = ops.scrape(endless if sync else endless_later, passing("outer"), passing("inner"))
    crawl = Crawl(URL).pipe(ops.download(*BARE, fetch=FakeFetch({"/": ""})), scrape, ops.map_async(slow, 1))

    async def main() -> None:
        run = crawl.start()
        await asyncio.sleep(100)
        assert 98 <= run.counts.items <= 101
        assert given < 400
        run.stop()
        run.enough = True
        await run

    run_virtual(main)
    assert closed == ["outer", "inner", "callback"]


def test_a_slow_page_does_not_hold_up_the_others() -> None:
    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        if page.request.url.endswith("/1"):
            await asyncio.sleep(1000)
        async for _ in outputs:
            yield {"url": page.request.url, "at": asyncio.get_running_loop().time()}

    seen = crawled(two, hooked("slow", output=output), start=[f"{URL}1", f"{URL}2"])
    times = {item["url"]: item["at"] for item in seen.items}
    assert times[f"{URL}1"] - times[f"{URL}2"] >= 999


def test_an_endless_callback_whose_outputs_a_layer_keeps_leaves_others_their_turn() -> None:
    async def swallowing(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        async for each in outputs:
            if each["n"] < 0:
                yield each

    def many(page: Response) -> Iterator[Any]:
        for n in range(200_000):
            yield {"n": n}

    turns = 0

    async def main() -> None:
        nonlocal turns
        crawl = Crawl(URL).pipe(ops.download(*BARE, fetch=FakeFetch({"/": ""})), ops.scrape(many, looking))
        run = crawl.start()
        while run.summary is None:
            turns += 1
            await asyncio.sleep(0)
        assert (await run).items == 0

    looking = hooked("swallowing", output=swallowing)
    asyncio.run(main())
    assert turns > 10


@virtual
async def test_a_body_that_was_refused_or_not_read_is_closed() -> None:
    for layers in ((tagging("whole"),), (tagging("whole"), refusing(KeyError("no")))):
        chunks = Chunks(b"x" * 100, size=10)

        async def answer(request: Request, chunks: Chunks = chunks) -> Response:
            return Response(request.url, request=request, stream=chunks)

        crawl = Crawl(Request(URL, stream=True)).pipe(ops.download(*BARE, fetch=answer), ops.scrape(two, *layers))
        await crawl.collect()
        assert chunks.closed


@pytest.mark.parametrize("fails", [False, True])
def test_callbacks_that_wait_for_the_sinks_are_closed_when_the_run_is_stopped(fails: bool) -> None:
    opened: list[str] = []
    told: list[Notice] = []

    def endless(page: Response) -> Iterator[Any]:
        opened.append(page.url)
        try:
            while True:
                yield {"n": 1}
        finally:
            opened.remove(page.url)
            if fails:
                raise KeyError("clean-up")

    async def slow(item: Any) -> Any:
        await asyncio.sleep(60)
        return item

    crawl = Crawl([f"{URL}{n}" for n in range(3)]).pipe(
        ops.download(*BARE, fetch=FakeFetch({f"/{n}": "" for n in range(3)})),
        ops.scrape(endless),
        ops.map_async(slow, 2),
    )

    async def main() -> list[str]:
        run = crawl.start()
        run.events.on(Notice, told.append)
        asyncio.get_running_loop().call_later(5.0, lambda: run.stop(now=True))
        await run
        return list(opened)  # at once, not when the garbage is collected

    gc.disable()
    try:
        assert run_virtual(main) == []
    finally:
        gc.enable()
    assert len(told) == int(fails)
    assert all("raised KeyError: 'clean-up'" in notice.text for notice in told)


@pytest.mark.parametrize("whole", [False, True])
def test_an_endless_callback_ends_with_a_pipe_that_has_had_enough(whole: bool) -> None:
    """With no crawl around: who has enough can say so only when the callback has let the loop have a turn."""
    ends: list[str] = []

    def endless(page: Response) -> Iterator[Any]:
        try:
            while True:
                yield {"n": 1}
        finally:
            ends.append(page.url)

    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        async for each in outputs:
            yield each

    layers = (hooked("layer", output=output),) if whole else ()

    async def main() -> list[Any]:
        pipe: Observable[Any] = reactivex.of(Request(URL)).pipe(
            ops.download(*BARE, fetch=FakeFetch({"/": ""})), ops.scrape(endless, *layers), rx.take(3), rx.to_list()
        )
        found: list[Any] = await pipe
        await asyncio.sleep(1)
        return found

    assert run_virtual(main) == [{"n": 1}] * 3
    assert ends == [URL]


def test_a_cancelled_run_unwinds_its_generators() -> None:
    ends: list[str] = []

    async def output(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
        try:
            async for each in outputs:
                yield each
        finally:
            ends.append("layer")

    async def waiting(page: Response) -> AsyncIterator[Any]:
        try:
            yield {"n": 1}
            await asyncio.sleep(1e6)
        finally:
            ends.append("callback")

    crawl = Crawl(URL).pipe(
        ops.download(*BARE, fetch=FakeFetch({"/": ""})), ops.scrape(waiting, hooked("layer", output=output))
    )

    async def main() -> None:
        run = crawl.start()
        await asyncio.sleep(10)
        run.stop(now=True)
        await run
        assert ends == ["callback", "layer"]

    run_virtual(main)


def test_a_page_that_names_the_layer_in_skip_passes_it_by() -> None:
    log: list[Any] = []
    request = Request(URL, skip=("tag", "asking", "refusing"))
    seen = crawled(two, tagging("tag"), refusing(KeyError("no")), tagging("other"), start=request)
    assert seen.items[0] == {"n": 1, "by": ["other"]}
    seen = crawled(breaking, asking("asking", log, []), start=request)
    assert (log, len(seen.errors)) == ([], 1)


def test_a_link_that_names_the_layer_in_skip_passes_it_by() -> None:
    def request(link: Request, page: ScrapeInput) -> Any:
        raise Drop("no")

    def callback(page: Response) -> Iterator[Any]:
        if page.request.depth == 0 and page.url == URL:
            yield page.follow("/1", skip=("no",))
            yield page.follow("/2")

    for layers in ((hooked("no", request=request),), (tagging("whole"), hooked("no", request=request))):
        seen = crawled(callback, *layers, start=Request(URL, skip=("no",)))
        assert seen.summary.pages == 2
        assert seen.summary.counts.dropped == {"no": 1}


# -- functions as layers ----------------------------------------------------------------------------------------------


def plain(scraper: Scraper) -> Scraper:
    """A layer written by hand."""
    from reactivex import operators as rx

    def mark(output: Any) -> Any:
        return output if isinstance(output, Request | Done) else output | {"by": [*output["by"], "plain"]}

    def layered(inputs: Observable[ScrapeInput]) -> Observable[Any]:
        return scraper(inputs).pipe(rx.map(mark))

    return layered


def test_layers_of_any_kind_stand_around_one_another() -> None:
    def item(output: Any, page: ScrapeInput) -> Any:
        return output | {"by": [*output["by"], page.request.url]}

    seen = crawled(two, hooked("outer", item=item), plain, tagging("inner"))
    assert seen.items[0] == {"n": 1, "by": ["inner", "plain", URL]}
    assert len(seen.items) == 3


def test_a_layer_that_takes_outputs_as_a_whole_cannot_stand_around_a_function() -> None:
    with pytest.raises(FlowError, match=r"layer tag takes outputs as a whole: .*nearer to the callback than"):
        Crawl(URL).pipe(ops.download(fetch=FakeFetch({})), ops.scrape(two, tagging("tag"), plain)).run()


def test_a_function_sees_one_done_for_each_input_and_the_error_that_was_left() -> None:
    dones: list[Done] = []

    def watching(scraper: Scraper) -> Scraper:
        from reactivex import operators as rx

        def note(output: Any) -> None:
            if isinstance(output, Done):
                dones.append(output)

        def layered(inputs: Observable[ScrapeInput]) -> Observable[Any]:
            return scraper(inputs).pipe(rx.do_action(note))

        return layered

    crawled(breaking, watching, tagging("a"), start=[f"{URL}1", f"{URL}2"])
    crawled(breaking, watching, asking("a", [], []))
    assert [type(done.error).__name__ for done in dones] == ["CallbackError", "CallbackError", "NoneType"]
    assert all(isinstance(done.input, Response) for done in dones)


# -- the start --------------------------------------------------------------------------------------------------------


def test_the_start_passes_through_async_generators_which_may_give_items() -> None:
    async def doubling(start: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for element in start:
            yield element
            yield {"of": element}

    async def adding(start: AsyncIterator[Any]) -> AsyncIterator[Any]:
        yield Request(f"{URL}0")
        async for element in start:
            yield element
        yield {"end": True}

    def callback(page: Response) -> dict[str, str]:
        return {"url": page.url}

    start = start_through([f"{URL}1", f"{URL}2"], doubling, adding)
    for _ in range(2):
        seen = crawled(callback, start=start, site={"/0": "", "/1": "", "/2": ""})
        assert sorted(item["url"] for item in seen.items if "url" in item) == [f"{URL}0", f"{URL}1", f"{URL}2"]
        assert [item for item in seen.items if "url" not in item] == [
            {"of": f"{URL}1"},
            {"of": f"{URL}2"},
            {"end": True},
        ]
    assert repr(start) == "<start through 2 steps>"


def test_an_endless_start_is_asked_as_the_crawl_asks_and_closed_with_it() -> None:
    given = 0
    closed: list[str] = []

    async def endless() -> AsyncIterator[str]:
        nonlocal given
        try:
            while True:
                given += 1
                yield f"{URL}{given}"
        finally:
            closed.append("source")

    async def step(start: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for element in start:
                yield element
        finally:
            closed.append("step")

    async def slow(request: Request) -> Response:
        await asyncio.sleep(10)
        return Response(request.url, request=request)

    class Source:
        def __aiter__(self) -> AsyncIterator[str]:
            return endless()

    def nothing(page: Response) -> None: ...

    crawl = Crawl(start_through(Source(), step), limit_pages=30, per_host=4).pipe(
        ops.download(*BARE, fetch=slow), ops.scrape(nothing)
    )
    assert run_virtual(crawl.collect()) == []
    assert given < 60
    assert closed == ["step", "source"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [(URL, [URL]), (Request(URL), [URL]), ({f"{URL}b", f"{URL}a"}, [f"{URL}a", f"{URL}b"])],
)
def test_any_start_but_an_observable_may_be_changed(source: Any, expected: list[str]) -> None:
    async def main() -> list[str]:
        return [each if isinstance(each, str) else each.url async for each in start_through(source)]

    assert run_virtual(main) == expected


def test_a_step_that_is_no_async_generator_fails_the_start() -> None:
    def wrong(start: AsyncIterator[Any]) -> Any:
        return None

    with pytest.raises(FlowError, match=r"TypeError: .* gave None, and no async iterator"):
        Crawl(start_through(URL, wrong)).pipe(ops.download(fetch=FakeFetch({})), ops.scrape(two)).run()
    import reactivex

    with pytest.raises(TypeError, match="an Observable"):
        start_through(reactivex.of(URL))
