"""http_cache: what is given out without the wire, what is stored, and what is told of it."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from reactivex.subject import Subject
from through import Spy, through

from streamcrawl import Crawl
from streamcrawl import operators as ops
from streamcrawl.caching import CorruptEntry, Entry, MemoryStore, Replay, Rfc9111, sqlite_store
from streamcrawl.caching.exchange import Tee
from streamcrawl.caching.store import OpenMemoryStore
from streamcrawl.core import Dropped, Failed, Layer, Outcome, Request, Run
from streamcrawl.errors import ConnectError, StreamcrawlError
from streamcrawl.events import Notice
from streamcrawl.headers import Headers
from streamcrawl.operators.http_cache import http_cache
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

URL = "http://a.example/"
Ask: TypeAlias = "Callable[..., Awaitable[Any]]"
FRESH = {"Cache-Control": "max-age=60"}


class Kept:
    """A MemoryStore whose contents outlive the run, and that fails where it is told to."""

    def __init__(self, fails: str = "", error: Exception | None = None) -> None:
        self.opened = OpenMemoryStore(10**9)
        self.fails = fails
        self.error = error or OSError("the disk is gone")
        self.closed = 0

    def open(self, run: Run) -> Kept:
        return self

    async def get(self, key: bytes) -> list[Entry]:
        self._fail("get")
        return await self.opened.get(key)

    async def put(self, key: bytes, entry: Entry) -> None:
        self._fail("put")
        await self.opened.put(key, entry)

    async def delete(self, key: bytes) -> None:
        self._fail("delete")
        await self.opened.delete(key)

    async def close(self) -> None:
        self.closed += 1

    def _fail(self, what: str) -> None:
        if what in self.fails.split():
            raise self.error


def session(work: Callable[[Ask], Awaitable[None]], fetch: Any, *layers: Layer, spy: Spy | None = None) -> None:
    """Let `work` ask one request after the other, in virtual time, with one run behind."""

    async def main() -> None:
        requests: Subject[Request] = Subject()
        waiting: dict[str, asyncio.Future[Outcome]] = {}
        ended = asyncio.Event()

        async def ask(url: str = URL, **options: Any) -> Outcome:
            mark = str(len(waiting))
            waiting[mark] = asyncio.get_running_loop().create_future()
            options["headers"] = Headers(options.get("headers", {}))
            requests.on_next(Request(url, meta={"mark": mark}, **options))
            return await waiting[mark]

        def got(outcome: Outcome) -> None:
            waiting[outcome.request.meta["mark"]].set_result(outcome)

        stage = ops.download(*layers, *([spy.layer] if spy else []), fetch=fetch)
        requests.pipe(stage).subscribe(got, print, ended.set)
        await asyncio.sleep(0)
        await work(ask)
        requests.on_completed()
        await ended.wait()

    run_virtual(main)


def test_the_second_time_it_comes_from_the_store() -> None:
    fetch, spy = FakeFetch({"/": page("home", headers=FRESH)}), Spy()

    async def work(ask: Ask) -> None:
        first = await ask()
        await asyncio.sleep(30)
        second = await ask()
        assert (first.flags, second.flags) == ((), ("cached",))
        assert first.body == second.body == b"home"
        assert "age" not in first.headers
        assert second.headers["age"] == "30"
        await asyncio.sleep(40)
        assert (await ask()).flags == ()

    session(work, fetch, http_cache(store=MemoryStore()), spy=spy)
    assert fetch.hits[URL] == 2
    found = {key: value for key, value in spy.stats.items() if key.startswith("httpcache/")}
    assert found == {
        "httpcache/miss": 1,
        "httpcache/firsthand": 1,
        "httpcache/store": 2,
        "httpcache/hit": 1,
        "httpcache/invalidate": 1,
    }


def test_a_304_renews_what_is_stored() -> None:
    def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == '"v1"':
            return page(status=304, headers={**FRESH, "X": "2"})
        return page("home", headers={**FRESH, "ETag": '"v1"', "X": "1"})

    fetch, spy = FakeFetch({"/": answer}), Spy()

    async def work(ask: Ask) -> None:
        await ask()
        await asyncio.sleep(61)
        renewed = await ask()
        assert (renewed.status, renewed.body, renewed.headers["x"]) == (200, b"home", "2")
        assert renewed.flags == ("cached", "revalidated")
        assert "if-none-match" not in renewed.request.headers
        await asyncio.sleep(59)
        assert (await ask()).flags == ("cached",)

    session(work, fetch, http_cache(store=MemoryStore()), spy=spy)
    assert fetch.hits[URL] == 2
    assert spy.stats["httpcache/revalidate"] == 1


def test_a_streamed_304_is_closed() -> None:
    body = Chunks(b"")

    def streamed(request: Request) -> Response:
        return Response(URL, 304, request=request, stream=body)

    answers: list[Any] = [
        page("home", headers={**FRESH, "ETag": '"v1"'}),
        streamed,
    ]

    async def work(ask: Ask) -> None:
        await ask()
        await asyncio.sleep(61)
        renewed = await ask(stream=True)
        assert await renewed.read() == b"home"
        assert body.closed

    session(work, FakeFetch({"/": answers}), http_cache(store=MemoryStore()))


def test_it_serves_stale_when_the_server_fails_if_that_is_allowed() -> None:
    allowed = page("home", headers={"Cache-Control": "max-age=60, stale-if-error=600"})
    strict = page("home", headers={"Cache-Control": "max-age=60, must-revalidate, stale-if-error=600"})
    down = ConnectError("down")
    fetch = FakeFetch({"/": [allowed, down, page("busy", status=503), down], "/strict": [strict, down]})
    spy = Spy()

    async def work(ask: Ask) -> None:
        await ask()
        await ask(URL + "strict")
        await asyncio.sleep(61)
        for _ in range(2):
            stale = await ask()
            assert (stale.status, stale.body, stale.flags) == (200, b"home", ("cached", "stale", "errorrecovery"))
        assert isinstance(await ask(URL + "strict"), Failed)
        await asyncio.sleep(600)
        assert isinstance(await ask(), Failed)

    session(work, fetch, http_cache(store=MemoryStore()), spy=spy)
    assert spy.stats["httpcache/errorrecovery"] == 2


def test_a_fetch_of_the_user_s_that_cannot_reach_the_server_is_covered_too() -> None:
    came: list[Any] = [page("home", headers=FRESH), OSError("the line is dead"), TypeError("a mistake")]

    async def fetch(request: Request) -> Response:
        next = came.pop(0)
        if isinstance(next, Exception):
            raise next
        return Response(request.url, 200, next.headers, next.body, request)

    async def work(ask: Ask) -> None:
        await ask()
        await asyncio.sleep(61)
        stale = await ask()
        assert (stale.body, stale.flags) == (b"home", ("cached", "stale", "errorrecovery"))
        assert isinstance(await ask(), Failed)

    session(work, fetch, http_cache(policy=Rfc9111(stale_if_error=float("inf")), store=MemoryStore()))


def test_what_stands_in_for_a_failure_says_so_though_it_is_fresh() -> None:
    """So that nobody takes it for an answer of the server."""
    fetch = FakeFetch(
        {"/": [page("home", headers={"Cache-Control": "max-age=60"}), ConnectError("down"), page(status=500)]}
    )

    async def work(ask: Ask) -> None:
        await ask()
        await asyncio.sleep(5)
        for _ in range(2):
            assert (await ask(headers={"Cache-Control": "max-age=0"})).flags == ("cached", "errorrecovery")

    session(work, fetch, http_cache(policy=Rfc9111(stale_if_error=600), store=MemoryStore()))


def test_stale_while_revalidate_asks_in_the_background_and_once() -> None:
    says = {"Cache-Control": "max-age=60, stale-while-revalidate=600"}
    fetch, spy = FakeFetch({"/": [page("old", headers=says), page("new", headers=says)]}, latency=1.0), Spy()

    async def work(ask: Ask) -> None:
        await ask()
        await asyncio.sleep(100)
        old = await asyncio.gather(ask(), ask())
        assert [(each.body, each.flags) for each in old] == [(b"old", ("cached", "stale"))] * 2
        await asyncio.sleep(2)
        new = await ask()
        assert (new.body, new.flags) == (b"new", ("cached",))

    session(work, fetch, http_cache(store=MemoryStore()), spy=spy)
    assert fetch.hits[URL] == 2
    assert spy.stats["httpcache/refresh"] == 1


def test_variants_are_kept_apart() -> None:
    def answer(request: Request) -> Response:
        return page(request.headers["accept-language"], headers={**FRESH, "Vary": "Accept-Language"})

    fetch = FakeFetch({"/": answer})

    async def work(ask: Ask) -> None:
        for _ in range(2):
            for language in ("de", "en"):
                assert (await ask(headers={"Accept-Language": language})).text == language

    session(work, fetch, http_cache(store=MemoryStore()))
    assert fetch.hits[URL] == 2


def test_a_post_invalidates_the_page() -> None:
    fetch = FakeFetch({"/": page("home", headers=FRESH)})

    async def work(ask: Ask) -> None:
        await ask()
        await ask(method="POST", body=b"x")
        assert (await ask()).flags == ()

    session(work, fetch, http_cache(store=MemoryStore()))
    assert fetch.hits[URL] == 3


def test_two_of_the_same_at_once_do_not_harm_each_other() -> None:
    fetch = FakeFetch({"/": lambda request: page("x" * 5000, headers=FRESH)}, latency=lambda request: 1.0)

    async def work(ask: Ask) -> None:
        found = await asyncio.gather(*(ask() for _ in range(10)))
        assert {each.body for each in found} == {b"x" * 5000}
        assert (await ask()).body == b"x" * 5000

    session(work, fetch, http_cache(store=MemoryStore()))
    assert fetch.hits[URL] == 10


def test_a_late_304_does_not_replace_what_has_come_since() -> None:
    async def slow_304(request: Request) -> Response:
        await asyncio.sleep(50)
        return page(status=304, headers=FRESH)

    store = Kept()
    answers: list[Any] = [
        page("old", headers={**FRESH, "ETag": '"1"'}),
        slow_304,
        page("new", headers={**FRESH, "ETag": '"2"'}),
    ]

    async def work(ask: Ask) -> None:
        await ask()
        await asyncio.sleep(61)
        late = asyncio.ensure_future(ask())
        await asyncio.sleep(1)
        assert (await ask(cache="reload")).body == b"new"
        assert (await late).body == b"old"
        assert (await ask()).body == b"new"

    session(work, FakeFetch({"/": answers}), http_cache(store=store))


# -- a request's own wishes --------------------------------------------------------------------------------------------


def test_modes() -> None:
    fetch = FakeFetch({"/": page("home", headers=FRESH)})

    async def work(ask: Ask) -> None:
        missing = await ask(cache="only-if-cached")
        assert (type(missing), missing.reason) == (Dropped, "not in the cache")
        timeout = await ask(headers={"Cache-Control": "only-if-cached"})
        assert (timeout.status, timeout.body) == (504, b"")
        assert fetch.hits[URL] == 0
        await ask(cache="no-store")
        assert (await ask()).flags == ()  # it was not stored
        assert (await ask(cache="reload")).flags == ()
        assert (await ask(cache="no-cache")).flags == ()
        await asyncio.sleep(100)
        assert (await ask(cache="force-cache")).flags == ("cached", "stale")
        assert (await ask(cache="only-if-cached")).flags == ("cached", "stale")
        assert fetch.hits[URL] == 4

    session(work, fetch, http_cache(store=MemoryStore()))


def test_a_request_may_pass_the_layer() -> None:
    fetch = FakeFetch({"/": page("home", headers=FRESH)})

    async def work(ask: Ask) -> None:
        await ask()
        assert (await ask(skip=("http_cache",))).flags == ()

    session(work, fetch, http_cache(store=MemoryStore()))


def test_jars_do_not_see_each_other_s_pages() -> None:
    fetch = FakeFetch({"/": page("home", headers=FRESH)})

    async def work(ask: Ask) -> None:
        for jar in (None, "a", "b", "a"):
            last = await ask(cookiejar=jar)
        assert last.flags == ("cached",)

    session(work, fetch, http_cache(store=MemoryStore()))
    assert fetch.hits[URL] == 3


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_is_stored_when_it_has_been_read_to_its_end() -> None:
    fetch = FakeFetch({"/": page("x" * 5000, headers=FRESH)})

    async def work(ask: Ask) -> None:
        broken_off = await ask(stream=True)
        async for _ in broken_off.stream:
            break
        await broken_off.stream.aclose()
        whole = await ask(stream=True)
        assert whole.flags == ()
        chunks = [chunk async for chunk in whole.stream]
        assert len(chunks) == 5
        again = await ask(stream=True)
        assert again.flags == ("cached",)
        assert await again.read() == b"x" * 5000
        closed = await ask(stream=True)
        await closed.stream.aclose()
        assert [chunk async for chunk in closed.stream] == []
        assert (await ask()).body == b"x" * 5000

    session(work, fetch, http_cache(store=MemoryStore()))
    assert fetch.hits[URL] == 2


def test_a_stream_that_breaks_or_is_too_long_is_not_stored() -> None:
    def broken(request: Request) -> Response:
        return Response(
            URL, 200, Headers(FRESH), request=request, stream=Chunks(b"x" * 3000, error=ConnectError("off"))
        )

    fetch = FakeFetch({"/": broken, "/long": page("x" * 5000, headers=FRESH)})

    async def work(ask: Ask) -> None:
        for _ in range(2):
            with pytest.raises(ConnectError):
                await (await ask(stream=True)).read()
            assert len(await (await ask(URL + "long", stream=True)).read()) == 5000
            assert len((await ask(URL + "long")).body) == 5000

    session(work, fetch, http_cache(store=MemoryStore(), max_size=4999))
    assert (fetch.hits[URL], fetch.hits[URL + "long"]) == (2, 4)


def test_what_counts_as_stored_was_stored() -> None:
    fetch, spy, store = FakeFetch({"/": page("x" * 5000, headers=FRESH)}), Spy(), Kept()

    async def work(ask: Ask) -> None:
        for _ in range(3):
            left = await ask(stream=True)
            async for _ in left.stream:
                break
            await left.stream.aclose()
        assert spy.stats.get("httpcache/store", 0) == 0
        store.fails = "put"
        await ask()
        assert (spy.stats.get("httpcache/store", 0), spy.stats["httpcache/store_error"]) == (0, 1)
        store.fails = ""
        whole = await ask(stream=True)
        assert spy.stats.get("httpcache/store", 0) == 0
        await whole.read()
        assert spy.stats["httpcache/store"] == 1
        await ask(cache="reload")
        assert spy.stats["httpcache/store"] == 2

    session(work, fetch, http_cache(store=store), spy=spy)
    assert spy.stats["httpcache/firsthand"] == 6


class Later(Kept):
    """Takes what it is to keep, and finds out afterwards that it cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Callable[[Exception], None]] = []

    def put_soon(self, key: bytes, entry: Entry, failed: Callable[[Exception], None]) -> bool:
        self.taken.append(failed)
        return True


def test_what_was_to_be_written_later_and_was_not_does_not_count_as_stored() -> None:
    fetch, spy, store = FakeFetch({"/": page("home", headers=FRESH)}), Spy(), Later()

    async def work(ask: Ask) -> None:
        await ask()
        await ask()
        assert spy.stats["httpcache/store"] == 2
        store.taken[0](OSError("the disk is full"))
        assert (spy.stats["httpcache/store"], spy.stats["httpcache/store_error"]) == (1, 1)

    session(work, fetch, http_cache(store=store), spy=spy)


def test_a_body_read_in_two_goes_is_kept_whole() -> None:
    async def main() -> None:
        kept: list[bytes] = []

        async def done(body: bytes) -> None:
            kept.append(body)

        class Pieces:
            def __init__(self) -> None:
                self.left = [b"a", b"b", b"c"]

            async def __aiter__(self) -> AsyncIterator[bytes]:
                while self.left:
                    yield self.left.pop(0)

            async def aclose(self) -> None:
                self.left.clear()

        tee = Tee(Pieces(), 100, done)
        async for _ in tee:
            break
        assert [chunk async for chunk in tee] == [b"b", b"c"]
        assert [chunk async for chunk in tee] == []
        assert kept == [b"abc"]

    asyncio.run(main())


# -- the arguments -----------------------------------------------------------------------------------------------------


def hits(url: str = URL, **arguments: Any) -> int:
    """How often a page that may be kept for a minute is fetched, asked for twice."""
    answer = page("home", headers=FRESH, status=404 if "status" in url else 200)
    fetch = FakeFetch({"/": answer, "/status": answer})

    async def work(ask: Ask) -> None:
        await ask(url)
        await asyncio.sleep(10)
        await ask(url)

    session(work, fetch, http_cache(store=MemoryStore(), **arguments))
    return sum(fetch.hits.values())


@pytest.mark.parametrize(
    ("arguments", "url", "expected"),
    [
        ({}, URL, 1),
        ({}, URL + "status", 1),
        ({"expires_after": 5.0}, URL, 2),
        ({"expires_after": 15.0}, URL, 1),
        ({"ignore_schemes": ("http",)}, URL, 2),
        ({"ignore_schemes": ("HTTP",), "policy": Replay()}, URL, 2),
        ({"ignore_statuses": {404}}, URL + "status", 2),
        ({"ignore_statuses": {404}, "policy": Replay()}, URL, 1),
        ({"max_size": 3}, URL, 2),
        ({"max_size": 4}, URL, 1),
        ({"ignore_missing": True}, URL, 0),
        ({"policy": Rfc9111(ignore_directives=["max-age"])}, URL, 2),
    ],
)
def test_arguments(arguments: dict[str, Any], url: str, expected: int) -> None:
    assert hits(url, **arguments) == expected


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"expires_after": 0}, "expires_after=0"),
        ({"max_size": 0}, "max_size=0"),
        ({"ignore_schemes": "file"}, "ignore_schemes='file'"),
        ({"ignore_statuses": [200, 7]}, r"ignore_statuses=\[7\]"),
    ],
)
def test_wrong_arguments(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        http_cache(store=MemoryStore(), **wrong)


def test_a_crawl_of_the_cache_alone() -> None:
    store, spy = Kept(), Spy()
    fetch = FakeFetch({"/": page("home", headers={"Cache-Control": "no-store"})})
    through(http_cache(policy=Replay(), store=store), to=[URL], fetch=fetch)
    offline = http_cache(policy=Replay(), store=store, ignore_missing=True)
    home, other = through(offline, spy.layer, to=[URL, URL + "other"], fetch=fetch)
    assert isinstance(home, Response)
    assert isinstance(other, Dropped)
    assert (home.body, home.flags, other.reason) == (b"home", ("cached",), "not in the cache")
    assert fetch.hits == {URL: 1}
    assert (spy.stats["httpcache/hit"], spy.stats["httpcache/ignore"], spy.stats["httpcache/miss"]) == (1, 1, 1)
    assert store.closed == 2


# -- stores that fail --------------------------------------------------------------------------------------------------


def test_a_corrupt_entry_is_a_miss_and_goes() -> None:
    store, spy = Kept(), Spy()
    fetch = FakeFetch({"/": page("home", headers=FRESH)})

    async def work(ask: Ask) -> None:
        await ask()
        store.fails, store.error = "get", CorruptEntry("damaged")
        assert (await ask()).flags == ()
        store.fails = ""
        assert (await ask()).flags == ("cached",)

    session(work, fetch, http_cache(store=store), spy=spy)
    assert spy.stats["httpcache/retrieve_error"] == 1
    assert "httpcache/store_error" not in spy.stats
    assert fetch.hits[URL] == 2


@pytest.mark.parametrize("fails", ["get", "put", "get put delete"])
def test_a_store_that_fails_costs_no_page_and_is_told_of_once(fails: str) -> None:
    spy = Spy()
    fetch = FakeFetch({"/": page("home", headers=FRESH)})

    async def work(ask: Ask) -> None:
        for _ in range(3):
            assert (await ask()).body == b"home"
        assert isinstance(await ask(method="POST"), Response)

    session(work, fetch, http_cache(store=Kept(fails)), spy=spy)
    notices = [event for event in spy.events if isinstance(event, Notice)]
    assert [notice.level for notice in notices] == ["warning"]
    assert "the disk is gone" in notices[0].text
    assert spy.stats["httpcache/store_error"] >= 3


def test_a_store_that_cannot_be_opened_stops_the_run(tmp_path: Any) -> None:
    (tmp_path / "cache").mkdir()
    layer = http_cache(store=sqlite_store(tmp_path / "cache"))
    with pytest.raises(StreamcrawlError, match="cache"):
        through(layer, to=[URL])


def test_the_default_store_is_a_file_that_is_used_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fetch = FakeFetch({"/": page("home", headers=FRESH)})
    for flags in ((), ("cached",)):
        (found,) = through(http_cache(), to=[URL], fetch=fetch)
        assert isinstance(found, Response)
        assert found.flags == flags
    assert (tmp_path / "httpcache.sqlite").exists()


SECTOR = 4096
CRAWLED = [f"{URL}?page={number}" for number in range(60)]


def crawled(path: Path, harm: Callable[[Path], None] | None = None) -> tuple[int, list[str]]:
    """Crawl pages that lie in the cache, and others; gives how many came, and what was said."""
    fetched: list[str] = []
    said: list[str] = []

    async def fetch(request: Request) -> Response:
        await asyncio.sleep(0)
        fetched.append(request.url)
        if harm is not None and len(fetched) == 20:
            harm(path)
        return Response(request.url, 200, body=random.Random(request.url).randbytes(3000), request=request)

    cache = http_cache(policy=Replay(), store=sqlite_store(path))
    urls = CRAWLED[:30] if harm is None else CRAWLED[::-1]

    def scraped(response: Response) -> dict[str, str]:
        return {"url": response.url}

    crawl = Crawl(urls, delay=0).pipe(ops.download(cache, fetch=fetch), ops.scrape(scraped))
    crawl.events.subscribe(lambda event: said.append(event.text) if isinstance(event, Notice) else None)
    return len(asyncio.run(crawl.collect())), said


def cut(at: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, at)


def over(at: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            file.write(random.Random(at).randbytes(SECTOR))

    return write


HARM = [*(cut(at) for at in (1, 100, SECTOR, 5 * SECTOR)), *(over(at * SECTOR) for at in (0, 1, 2, 3, 4, 5, 8, 20))]


@pytest.mark.parametrize("harm", HARM)
def test_a_file_that_is_damaged_while_the_run_uses_it_costs_no_page(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "cache.sqlite"
    assert crawled(path) == (30, [])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE entries SET used = used - 1000")  # so that each use is to be noted at the end
    pages, said = crawled(path, harm)
    assert pages == 60
    assert len(said) <= 1, "it is told once"
    assert all(f"cache {path}: " in text and "delete it" in text for text in said)


# -- in a crawl --------------------------------------------------------------------------------------------------------


def test_what_comes_from_the_cache_waits_for_no_host() -> None:
    store = Kept()
    fetch = FakeFetch({"/": page("home")})
    cache = http_cache(policy=Replay(), store=store)
    urls = [f"{URL}?page={number}" for number in range(10)]

    def flags(response: Response) -> dict[str, Any]:
        return {"flags": response.flags}

    async def seconds() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        flow = Crawl(urls, delay=10.0, jitter=0.0).pipe(ops.download(cache, fetch=fetch), ops.scrape(flags))
        items = await flow.collect()
        assert len(items) == 10
        assert {item["flags"] for item in items} in ({()}, {("cached",)})
        return loop.time() - begin

    assert run_virtual(seconds) == pytest.approx(90, abs=1)
    assert run_virtual(seconds) < 5
    assert len(fetch.log) == 10


def test_a_large_stored_body_reserves_memory() -> None:
    store = Kept()
    asked: list[int] = []
    fetch = FakeFetch({"/": page(b"x" * 1_000_000, headers=FRESH)})
    through(http_cache(store=store), to=[URL], fetch=fetch)
    spy = Spy()
    make = spy.layer.make

    def spying(run: Run) -> Any:
        async def reserve(request: Request, size: int) -> None:
            asked.append(size)

        run.reserve = reserve  # type: ignore[method-assign]
        return make(run)

    layer = type(spy.layer)("spy", spying)
    (found,) = through(http_cache(store=store), layer, to=[URL], fetch=fetch)
    assert isinstance(found, Response)
    assert (found.flags, asked) == (("cached",), [1_000_000 - 256 * 1024])
