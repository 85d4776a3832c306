"""Streamed bodies in a crawl: read, left, broken off. Place and lease come back, and errors reach the reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx

from streamcrawl import Crawl, Failed, Request, Response, Run, Summary, core, fetch
from streamcrawl import operators as ops
from streamcrawl.core import Outcome
from streamcrawl.errors import HttpError, TruncatedBody
from streamcrawl.events import CallbackFailed
from streamcrawl.streams.layer import Hooks, layer
from streamcrawl.testing import Chunks, FakeFetch, page, run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)
BODY = b"x" * 10_000
COUNT = 4
URLS = [f"http://a.test/{n}" for n in range(COUNT)]


class Site:
    """Pages whose bodies come in chunks."""

    def __init__(self, *, size: int = 1000, error: Exception | None = None, status: int = 200) -> None:
        self.chunks = {url: Chunks(BODY, size=size, error=error) for url in URLS}
        self.fetch = FakeFetch(
            {url: Response(url, status, stream=each) for url, each in self.chunks.items()}, latency=1.0
        )

    @property
    def closed(self) -> bool:
        return all(each.closed for each in self.chunks.values())


def crawl(
    site: Site, callback: Any, *operators: Any, layers: Any = BARE, items: Any = (), **options: Any
) -> tuple[Summary, list[Any], list[Exception]]:
    """With one place: a run that does not get it back stands still, which `run_virtual` would tell."""

    async def main() -> tuple[Summary, list[Any], list[Exception]]:
        out: list[Any] = []
        errors: list[Exception] = []
        starts = [Request(url, stream=True) for url in URLS]
        flow = Crawl(starts, concurrency=1, **options).pipe(
            ops.download(*layers, fetch=site.fetch), *operators, ops.scrape(callback), *items
        )
        run = flow.start(on_item=out.append)
        run.events.on(CallbackFailed, lambda event: errors.append(event.error))
        summary = await run
        settled(run)
        assert summary.balanced
        assert site.closed
        return summary, out, errors

    return run_virtual(main(), limit=3600.0)


def settled(run: Run) -> None:
    assert (run.live, run.hosts.used, run.budget.used, run.frontier.leased) == ({}, 0, 0, 0)


async def read_whole(response: Response) -> dict[str, Any]:
    return {"url": response.url, "size": len(await response.read())}


async def read_chunks(response: Response) -> AsyncIterator[Any]:
    assert response.stream is not None
    size = 0
    async for chunk in response.stream:
        size += len(chunk)
        await asyncio.sleep(1.0)
    yield {"url": response.url, "size": size}


@pytest.mark.parametrize("callback", [read_whole, read_chunks])
def test_a_body_is_read_in_an_async_callback(callback: Any) -> None:
    summary, out, errors = crawl(Site(), callback)
    assert out == [{"url": url, "size": len(BODY)} for url in URLS]
    assert (summary.pages, errors) == (COUNT, [])


def test_the_place_is_held_until_the_body_is_read() -> None:
    site = Site()
    crawl(site, read_chunks)
    assert site.fetch.times == [0.0, 11.0, 22.0, 33.0]


async def close_it(response: Response) -> dict[str, Any]:
    assert response.stream is not None
    await response.stream.aclose()
    await response.stream.aclose()
    await asyncio.sleep(5.0)
    return {"url": response.url}


def test_a_body_that_is_closed_gives_the_place_back_before_the_callback_ends() -> None:
    site = Site()
    _, out, _ = crawl(site, close_it)
    assert len(out) == COUNT
    assert site.fetch.times == [0.0, 1.0, 2.0, 3.0]


def unread(response: Response) -> Iterator[Any]:
    yield {"url": response.url}
    yield response.follow("/1")


def nothing(response: Response) -> None: ...


async def leaves(response: Response) -> AsyncIterator[Any]:
    assert response.stream is not None
    async for chunk in response.stream:
        yield {"size": len(chunk)}
        break


async def raises(response: Response) -> AsyncIterator[Any]:
    assert response.stream is not None
    async for chunk in response.stream:
        yield {"size": len(chunk)}
        raise KeyError("author")


@pytest.mark.parametrize("callback", [nothing, unread, leaves])
def test_a_body_that_nobody_reads_to_its_end_is_closed(callback: Any) -> None:
    summary, _, errors = crawl(Site(), callback)
    assert (summary.pages, errors) == (COUNT, [])


def test_a_body_is_closed_when_its_callback_raises() -> None:
    summary, out, errors = crawl(Site(), raises)
    assert (len(out), len(errors), summary.counts.callback_errors) == (COUNT, COUNT, COUNT)
    assert all("KeyError: 'author'" in str(error) for error in errors)


def test_asking_for_the_whole_body_without_reading_it_says_so() -> None:
    def text(response: Response) -> dict[str, str]:
        return {"text": response.text}

    _, out, errors = crawl(Site(), text)
    assert out == []
    assert len(errors) == COUNT
    assert "is streamed: iterate response.stream, or await response.read()" in str(errors[0])


@pytest.mark.parametrize("callback", [read_whole, read_chunks])
def test_a_break_in_mid_stream_reaches_the_reader(callback: Any) -> None:
    broken = TruncatedBody("it broke off")
    summary, out, errors = crawl(Site(error=broken), callback)
    assert out == []
    assert errors == [broken] * COUNT
    assert (summary.pages, summary.ok) == (COUNT, False)


def test_the_reader_may_live_with_a_break() -> None:
    async def what_there_is(response: Response) -> AsyncIterator[Any]:
        assert response.stream is not None
        size = 0
        try:
            async for chunk in response.stream:
                size += len(chunk)
        except TruncatedBody as error:
            yield {"size": size, "error": str(error)}

    summary, out, errors = crawl(Site(error=TruncatedBody("it broke off")), what_there_is)
    assert out == [{"size": len(BODY), "error": "it broke off"}] * COUNT
    assert (errors, summary.ok) == ([], True)


def test_a_status_that_nobody_asked_for_closes_the_body() -> None:
    summary, out, _ = crawl(Site(status=404), read_whole)
    assert (out, summary.failed) == ([], COUNT)


def test_an_errback_may_read_the_body_of_a_status_error() -> None:
    async def errback(failed: Failed) -> dict[str, Any]:
        assert isinstance(failed.error, HttpError)
        response = failed.error.response
        assert isinstance(response, Response)
        return {"size": len(await response.read())}

    site = Site(status=404)

    async def main() -> None:
        out: list[Any] = []
        starts = [Request(url, stream=True, errback=errback) for url in URLS]
        flow = Crawl(starts, concurrency=1).pipe(ops.download(*BARE, fetch=site.fetch), ops.scrape(read_whole))
        run = flow.start(on_item=out.append)
        await run
        settled(run)
        assert out == [{"size": len(BODY)}] * COUNT

    run_virtual(main(), limit=3600.0)


@pytest.mark.parametrize("status", [302, 503])
def test_what_is_sent_again_closes_the_body_of_the_first_answer(status: int) -> None:
    chunks = Chunks(b"moved or busy" * 1000)

    def answer(request: Request) -> Response:
        if request.attempt or request.via:
            return page("here")
        headers = page(headers={"Location": "/there"}).headers
        return Response(request.url, status, headers, stream=chunks)

    fetch_ = FakeFetch({"/": answer, "/there": page("here")})

    async def main() -> None:
        out: list[Any] = []
        flow = Crawl(Request("http://a.test/", stream=True), concurrency=1).pipe(
            ops.download(*ops.default_layers(robots_txt=None), fetch=fetch_), ops.scrape(read_whole)
        )
        run = flow.start(on_item=out.append)
        summary = await run
        settled(run)
        assert (len(out), summary.again, summary.balanced) == (1, 1, True)
        assert out[0]["size"] == len("here")
        assert chunks.closed

    run_virtual(main(), limit=3600.0)


def refused(response: Any) -> bool:
    return False


def broken(response: Any) -> Any:
    raise KeyError("author")


@pytest.mark.parametrize("operator", [rx.filter(refused), rx.map(broken)], ids=["filter", "raises"])
def test_a_response_that_an_operator_keeps_back_is_closed(operator: Any) -> None:
    summary, out, _ = crawl(Site(), read_whole, operator)
    assert (out, summary.dropped + summary.failed) == ([], COUNT)
    summary, out, _ = crawl(Site(), read_whole, layers=(ops.up(operator),))
    assert (out, summary.dropped + summary.failed) == ([], COUNT)


@pytest.mark.parametrize("later", [True, False])
def test_a_layer_that_raises_on_a_response_leaves_no_body_open(later: bool) -> None:
    def raising(outcome: Any) -> Any:
        raise KeyError("author")

    async def raising_later(outcome: Any) -> Any:
        await asyncio.sleep(1.0)
        raise KeyError("author")

    broken = layer("broken", lambda run: Hooks(up=raising_later if later else raising))
    summary, out, _ = crawl(Site(), read_whole, layers=(broken,))
    assert (out, summary.failed) == ([], COUNT)


def test_layers_see_a_streamed_response_and_may_wrap_its_body() -> None:
    class Upper:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self.inner:
                yield chunk.upper()

        async def aclose(self) -> None:
            await self.inner.aclose()

    def wrap(outcome: Outcome) -> Outcome:
        assert isinstance(outcome, Response)
        return outcome.replace(stream=Upper(outcome.stream))

    wrapping = layer("wrapping", lambda run: Hooks(up=wrap))

    async def first(response: Response) -> AsyncIterator[Any]:
        assert response.stream is not None
        async for chunk in response.stream:
            yield {"first": chunk[:1]}
            break

    _, out, _ = crawl(Site(), first, layers=(wrapping,))
    assert out == [{"first": b"X"}] * COUNT


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("reads", [False, True])
def test_a_layer_that_answers_with_a_stream_of_its_own_gives_the_place_back(asks: bool, reads: bool) -> None:
    fetch_ = FakeFetch({"/sum": Response("http://b.test/sum", stream=Chunks(BODY))})

    def make(run: core.Run) -> Hooks:
        async def down(request: Request) -> Outcome | Request:
            if request.url.endswith("/sum"):
                return request
            if asks:  # its body is read by nobody
                await run.fetch(Request("http://b.test/sum", stream=True), request)
            return Response(request.url, request=request, stream=Chunks(BODY))

        return Hooks(down=down)

    async def size(response: Response) -> dict[str, int]:
        return {"size": len(await response.read()) if reads else 0}

    async def main() -> None:
        out: list[Any] = []
        starts = [Request(url, stream=True) for url in URLS]
        flow = Crawl(starts, concurrency=1).pipe(ops.download(layer("kept", make), fetch=fetch_), ops.scrape(size))
        run = flow.start(on_item=out.append)
        await run
        settled(run)
        assert out == [{"size": len(BODY) if reads else 0}] * COUNT
        assert len(fetch_.urls) == (COUNT if asks else 0)

    run_virtual(main(), limit=3600.0)


@pytest.mark.parametrize("how", ["read", "close"])
def test_a_nested_fetch_may_stream_and_gives_its_place_back(how: str) -> None:
    async def with_detail(response: Response) -> dict[str, Any]:
        detail = await fetch(Request(f"http://b.test{response.url[-2:]}", stream=True))
        if how == "read":
            return {"size": len(await detail.read())}
        assert detail.stream is not None
        await detail.stream.aclose()
        return {"size": 0}

    details = {f"http://b.test/{n}": page(BODY) for n in range(COUNT)}
    fetch_ = FakeFetch({**dict.fromkeys(URLS, page("x")), **details}, latency=1.0)

    async def main() -> None:
        out: list[Any] = []
        flow = Crawl(URLS, concurrency=1).pipe(ops.download(*BARE, fetch=fetch_), ops.scrape(with_detail))
        run = flow.start(on_item=out.append)
        summary = await run
        settled(run)
        assert [item["size"] for item in out] == [len(BODY) if how == "read" else 0] * COUNT
        assert (summary.counts.offered.nested, summary.balanced) == (COUNT, True)

    run_virtual(main(), limit=3600.0)


def test_a_run_that_is_stopped_in_mid_stream_ends() -> None:
    site = Site()

    async def main() -> None:
        starts = [Request(url, stream=True) for url in URLS]
        flow = Crawl(starts, concurrency=2).pipe(ops.download(*BARE, fetch=site.fetch), ops.scrape(read_chunks))
        run = flow.start()
        await asyncio.sleep(4.5)
        run.stop("enough", now=True)
        summary = await run
        assert (summary.reason, summary.pages, summary.balanced) == ("enough", 0, True)
        await asyncio.sleep(1.0)  # what was cut off is closed by the loop, in its own time
        assert [each.closed for each in site.chunks.values()] == [True, True, False, False]

    run_virtual(main(), limit=3600.0)


@pytest.mark.parametrize("stream", [True, False])
def test_alone_a_streamed_response_is_read_by_who_gets_it(stream: bool) -> None:
    async def main() -> None:
        out: list[Response] = []
        over = asyncio.Event()
        source = reactivex.of(Request("http://a.test/", stream=stream))
        source.pipe(ops.download(ops.redirect(), fetch=FakeFetch({"/": page(BODY)}))).subscribe(
            out.append, on_completed=over.set
        )
        await over.wait()
        assert (out[0].stream is not None) == stream
        assert await out[0].read() == BODY

    run_virtual(main())


async def read_some(response: Response) -> dict[str, Any]:
    """Closes its iterator before the body."""
    assert response.stream is not None
    chunks = aiter(response.stream)
    first = await anext(chunks)
    close: Any = getattr(chunks, "aclose", None)
    await close()
    return {"url": response.url, "size": len(first)}


class Endless:
    """A body that is its own iterator, as that of the wire is."""

    def __init__(self) -> None:
        self.closed = False

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        return b"x" * 1000

    async def aclose(self) -> None:
        self.closed = True


def test_a_body_is_closed_when_its_iterator_is() -> None:
    bodies = [Endless(), Endless()]

    async def site(request: Request) -> Response:
        return Response(request.url, request=request, stream=bodies[int(request.url[-1])])

    starts = [Request(f"http://a.test/{n}", stream=True) for n in range(2)]
    flow = Crawl(starts, concurrency=1).pipe(ops.download(*BARE, fetch=site), ops.scrape(read_some))

    async def main() -> Summary:
        return await flow.start()

    assert run_virtual(main(), limit=3600.0).pages == 2
    assert [body.closed for body in bodies] == [True, True]
