"""Layers that meet in one crawl: the cache with repeats, redirects, cookies and streams; robots.txt with slots."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from streamcrawl import Crawl, Headers, Request, Response, Summary, fetch
from streamcrawl import operators as ops
from streamcrawl.breaker import CircuitBreaker
from streamcrawl.caching import Entry, Replay, Rfc9111
from streamcrawl.caching.store import OpenMemoryStore
from streamcrawl.core import Fetch, Run
from streamcrawl.events import RequestFailed
from streamcrawl.testing import START, Answer, Chunks, FakeFetch, page, run_virtual

HOST = "http://a.test"
FRESH = {"Cache-Control": "max-age=9999"}
DAY = 86_400.0


class Kept:
    """A store in memory whose contents outlive the run."""

    def __init__(self) -> None:
        self._opened = OpenMemoryStore(10**9)

    def open(self, run: Run) -> Kept:
        return self

    async def get(self, key: bytes) -> list[Entry]:
        return await self._opened.get(key)

    async def put(self, key: bytes, entry: Entry) -> None:
        await self._opened.put(key, entry)

    async def delete(self, key: bytes) -> None:
        await self._opened.delete(key)

    async def close(self) -> None: ...


def cached(store: Kept | None = None, policy: Any = None, **options: Any) -> dict[str, Any]:
    return {"http_cache": ops.http_cache(store=store or Kept(), policy=policy, **options)}


async def seen(response: Response) -> AsyncIterator[Any]:
    body = await response.read()
    yield {"path": response.url.removeprefix(HOST), "size": len(body), "flags": response.flags}
    for link in response.follow_all(css="a") if response.kind == "html" else ():
        yield link


class Ran:
    """What came of a crawl."""

    def __init__(self, summary: Summary, items: list[Any], failed: list[str]) -> None:
        self.summary = summary
        self.items = items
        self.failed = failed

    @property
    def flags(self) -> list[tuple[str, ...]]:
        return [item["flags"] for item in self.items]


def crawled(
    start: Any,
    fetch: Fetch,
    *,
    callback: Callable[[Response], Any] = seen,
    robots: bool = False,
    layers: dict[str, Any] | None = None,
    hours: float = 0.0,
    **options: Any,
) -> Ran:
    """A crawl in virtual time, begun so many hours after the first; its places are free at the end, its sum adds up."""

    async def main() -> Ran:
        items: list[Any] = []
        failed: list[str] = []
        given = {**({} if robots else {"robots_txt": None}), **(layers or {})}
        flow: Any = Crawl(start, **options).pipe(
            ops.download(*ops.default_layers(**given), fetch=fetch), ops.scrape(callback)
        )
        run = flow.start(on_item=items.append)

        def heard(event: RequestFailed) -> None:
            failed.append(str(event.failed.error))

        run.events.on(RequestFailed, heard)
        summary = await run
        assert summary.error is None
        assert summary.balanced
        assert run.hosts.used == 0
        assert run.budget.used == 0
        return Ran(summary, items, failed)

    return run_virtual(main, limit=10 * DAY, start=START + hours * 3600)


# ---- http_cache: places and memory -----------------------------------------------------------------------------------


def test_streamed_pages_from_the_cache_keep_no_places() -> None:
    fetch = FakeFetch({f"/{number}": page("x" * 5000, headers=FRESH) for number in range(40)})
    starts = [Request(f"{HOST}/{number}", stream=True) for number in range(40)]
    layers = cached()
    assert crawled(starts, fetch, layers=layers).flags == [()] * 40
    again = crawled(starts, fetch, layers=layers)
    assert again.flags == [("cached",)] * 40
    assert {item["size"] for item in again.items} == {5000}
    assert len(fetch.log) == 40


@pytest.mark.parametrize("stream", [False, True])
def test_large_pages_from_the_cache_do_not_wait_for_each_other_for_ever(stream: bool) -> None:
    """Each of them alone is more than half of the memory that the crawl may have."""
    fetch = FakeFetch({f"/{number}": page("x" * 9_000_000, headers=FRESH) for number in range(5)})
    starts = [Request(f"{HOST}/{number}", stream=stream) for number in range(5)]
    layers = cached()
    for flags in (), ("cached",):
        assert crawled(starts, fetch, layers=layers, memory="16MB").flags == [flags] * 5


def test_a_stored_page_over_the_limit_of_a_request() -> None:
    fetch = FakeFetch({"/": page("x" * 5000, headers=FRESH)})
    layers = cached()
    crawled(f"{HOST}/", fetch, layers=layers)
    wanted = Request(f"{HOST}/", max_size=1000)
    crawled(wanted, fetch, layers=layers)
    assert [request.max_size for _, request in fetch.log] == [None, 1000]  # it is the wire that refuses it


# ---- http_cache: repeats and redirects -------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Cache-Control": "max-age=60"}])
@pytest.mark.parametrize("policy", [Replay(), Rfc9111()])
def test_a_repeat_is_not_answered_with_the_stored_failure(policy: Any, headers: dict[str, str]) -> None:
    fetch = FakeFetch({"/": [page("busy", status=503, headers=headers), page("home", headers=FRESH)]})
    layers = cached(policy=policy)
    assert crawled(f"{HOST}/", fetch, layers=layers).flags == [()]
    assert crawled(f"{HOST}/", fetch, layers=layers).flags == [("cached",)]  # the good one has taken its place
    assert len(fetch.log) == 2


def test_what_only_the_cache_was_asked_is_no_failure_of_the_host() -> None:
    only = Headers({"Cache-Control": "only-if-cached"})
    fetch = FakeFetch({})
    ran = crawled([Request(f"{HOST}/{number}", headers=only) for number in range(30)], fetch, layers=cached())
    assert ran.failed == [f"HTTP status 504 from {HOST}/{number}" for number in range(30)]
    assert fetch.log == []
    assert [key for key, value in ran.summary.stats.items() if value and key.startswith("retry/")] == []


@pytest.mark.parametrize("policy", [Replay(), Rfc9111()])
def test_a_page_that_redirects_to_itself_with_a_cookie(policy: Any) -> None:
    """A redirect that is stored must not answer the hop that it makes."""

    def home(request: Request) -> Response:
        if "seen=1" in (request.headers.get("cookie") or ""):
            return page("home", headers=FRESH)
        return page(status=302, headers={"Location": "/", "Set-Cookie": "seen=1", **FRESH})

    fetch = FakeFetch({"/": home})
    layers = cached(policy=policy)
    assert crawled(f"{HOST}/", fetch, layers=layers).flags == [()]
    assert len(fetch.log) == 2
    assert crawled(f"{HOST}/", fetch, layers=layers).flags == [("cached",)]


# ---- http_cache: cookies ---------------------------------------------------------------------------------------------


def test_cookies_of_a_304_are_kept_and_those_of_the_store_are_not() -> None:
    set_cookie = iter(["n=stored", "", "n=renewed", ""])

    def answer(request: Request) -> Response:
        fields = [("ETag", '"1"'), ("Cache-Control", "no-cache"), ("Content-Type", "text/html")]
        if cookie := next(set_cookie):
            fields.append(("Set-Cookie", cookie))
        return page("home", status=304 if "if-none-match" in request.headers else 200, headers=fields)

    async def on(response: Response) -> AsyncIterator[Any]:
        yield {"flags": response.flags}
        rest: tuple[str, ...] = response.meta["rest"]
        if rest:
            yield Request(HOST + rest[0], dont_filter=True, meta={"rest": rest[1:]})

    fetch = FakeFetch({"/": answer, "/other": page("other", headers={"Set-Cookie": "n=newer"})})
    start = Request(f"{HOST}/", meta={"rest": ("/other", "/", "/", "/")})
    ran = crawled(start, fetch, callback=on, layers=cached())
    assert ran.flags == [(), (), *[("cached", "revalidated")] * 3]
    sent = [request.headers.get("cookie") for _, request in fetch.log]
    assert sent == [None, "n=stored", "n=newer", "n=newer", "n=renewed"]


def test_a_page_that_varies_by_cookie_is_one_for_each() -> None:
    def answer(request: Request) -> Response:
        return page(request.headers.get("cookie") or "none", headers={"Vary": "Cookie", **FRESH})

    fetch = FakeFetch({"/": answer})
    layers = cached()
    own = [Request(f"{HOST}/", headers=Headers({"Cookie": f"who={name}"}), dont_filter=True) for name in "aab"]
    bodies: list[bytes] = []

    def body(response: Response) -> None:
        bodies.append(response.body)

    crawled(own, fetch, callback=body, layers=layers, concurrency=1)
    assert bodies == [b"who=a", b"who=a", b"who=b"]
    assert len(fetch.log) == 2


def test_a_304_is_an_answer_of_the_host() -> None:
    """Among failures it ends the row of them: the host does not rest."""
    count = 0

    def answer(request: Request) -> Response:
        nonlocal count
        if request.headers.get("if-none-match") is None:
            return page("home", headers={"ETag": '"1"', "Cache-Control": "no-cache"})
        count += 1
        return page(status=503 if count % 4 else 304)

    fetch = FakeFetch({f"/{number}": answer for number in range(12)})
    starts = [f"{HOST}/{number}" for number in range(12)]
    layers = {**cached(), "throttle": None, "retry": ops.retry(times=0, breaker=CircuitBreaker(failures=4))}
    crawled(starts, fetch, layers=layers)
    ran = crawled(starts, fetch, layers=layers, concurrency=1)
    assert ran.flags == [("cached", "revalidated")] * 3
    assert "retry/rests" not in ran.summary.stats


def test_what_one_account_got_is_not_given_to_another() -> None:
    fetch = FakeFetch({"/": lambda request: page(request.headers.get("authorization") or "nobody", headers=FRESH)})
    store, bodies = Kept(), list[bytes]()

    def body(response: Response) -> None:
        bodies.append(response.body)

    def crawl_as(user: str) -> None:
        login = {"http_auth": ops.http_auth(user, "secret", domain="a.test", insecure=True)} if user else {}
        crawled(f"{HOST}/", fetch, callback=body, layers={**cached(store), **login})

    for user in ("anna", "ben", "anna", ""):
        crawl_as(user)
    assert len(set(bodies)) == 3
    assert bodies[0] == bodies[2]
    assert bodies[3] == b"nobody"
    assert len(fetch.log) == 3


# ---- http_cache: jobs, and no network at all -------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Replay(), Rfc9111()])
def test_a_crawl_of_the_cache_alone_obeys_no_robots_txt_that_it_cannot_ask_for(policy: Any) -> None:
    site = {"/": page("home", links=["/a"], headers=FRESH), "/a": page("a", headers=FRESH)}
    fetch, store = FakeFetch(site), Kept()
    assert crawled(f"{HOST}/", fetch, robots=True, layers=cached(store, policy)).flags == [()] * 2
    asked = len(fetch.log)
    ran = crawled(f"{HOST}/", fetch, robots=True, layers=cached(store, policy, ignore_missing=True))
    assert ran.flags == [("cached",)] * 2
    assert len(fetch.log) == asked


def test_a_recrawl_through_a_cache(tmp_path: Path) -> None:
    site: dict[str, Answer] = {
        "/": page("home", links=["/a", "/b"], headers={"Cache-Control": "max-age=7200", "ETag": '"1"'}),
        "/a": page("a", headers={"Cache-Control": "max-age=10"}),
        "/b": [page("b", headers={"Cache-Control": "max-age=10"}), page("other", headers=FRESH)],
    }
    fetch = FakeFetch(site)
    layers = cached()
    with chdir(tmp_path):
        first = crawled(f"{HOST}/", fetch, layers=layers, job="job", recrawl=60.0)
        assert sorted(item["path"] for item in first.items) == ["/", "/a", "/b"]
        fetch.log.clear()
        second = crawled(f"{HOST}/", fetch, layers=layers, job="job", recrawl=60.0, hours=1)
        assert sorted(fetch.urls) == [f"{HOST}/a", f"{HOST}/b"], "the home is fresh"
        assert [item["path"] for item in second.items] == ["/b"]
        assert second.summary.counts.dropped == {"not modified": 1, "unchanged": 1}


# ---- robots_txt ------------------------------------------------------------------------------------------------------


def test_what_waits_for_a_robots_txt_holds_no_place_that_asking_for_it_needs() -> None:
    """A callback's fetch asks first, which has no place; the only place is with a request of another slot."""

    async def slow(request: Request) -> Response:
        return page("rules", status=404)

    fake = FakeFetch({"/": "home", "http://b.test/robots.txt": slow}, latency=1.0)

    async def parse(response: Response) -> AsyncIterator[Any]:
        if response.url == f"{HOST}/":
            yield Request("http://b.test/one", slot="mine")
            yield Request("http://b.test/two", slot="mine")
            yield {"path": (await fetch(Request("http://b.test/nested", statuses="any"))).url, "flags": ()}
        else:
            yield {"path": response.url, "flags": ()}

    site = [Request(f"{HOST}/", statuses="any")]
    ran = crawled(site, fake, callback=parse, robots=True, concurrency=1, scope="any")
    assert [item["path"] for item in ran.items] == ["http://b.test/nested"]
    assert fake.hits["http://b.test/robots.txt"] == 1
    assert fake.most == 1
    assert sorted(ran.failed) == [f"HTTP status 404 from http://b.test/{name}" for name in ("one", "two")]


# ---- streams through everything --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["read", "left", "broken off", "closed"])
def test_streamed_bodies_leave_nothing_behind_whatever_becomes_of_them(way: str) -> None:
    bodies: list[Chunks] = []

    def streamed(status: int, headers: dict[str, str]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            bodies.append(Chunks(b"<html>" + b"x" * 9000, size=1000))
            return Response(request.url, status, Headers(headers), request=request, stream=bodies[-1])

        return answer

    async def parse(response: Response) -> AsyncIterator[Any]:
        assert response.stream is not None
        if way == "read":
            await response.read()
        elif way == "broken off":
            async for _ in response.stream:
                break
        elif way == "closed":
            await response.stream.aclose()
        yield {"path": response.url, "flags": response.flags}

    kinds = {
        "/page": streamed(200, {}),
        "/kept": streamed(200, FRESH),
        "/moved": streamed(302, {"Location": "/page"}),
        "/busy": streamed(503, {"Retry-After": "1"}),
        "/gone": streamed(404, {}),
        "/refresh": streamed(200, {"Refresh": "0;url=/kept"}),
        "/coded": streamed(200, {"Content-Encoding": "gzip"}),
    }
    methods = ["GET", "POST", "OPTIONS"]
    starts = [
        Request(HOST + path, method=method, stream=True, cookiejar=jar)
        for path in kinds
        for method in methods
        for jar in ("one", "two")
    ]
    layers = {**cached(), "decompress": ops.decompress(), "proxy": ops.proxy(["http://one.test", "http://two.test"])}
    for _ in range(2):
        crawled(starts, FakeFetch(kinds), callback=parse, layers=layers, concurrency=2)
    assert len(bodies) > len(starts)
    assert [body for body in bodies if not body.closed] == []
