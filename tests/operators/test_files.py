"""files: what items name, in a store."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from media_made import ID, SITE, Body, Fetching, accepted, named, of
from store_servers import ftp_server, gcs_server, s3_server

from streamcrawl import Crawl, Headers, Request, Response
from streamcrawl import operators as ops
from streamcrawl.caching import sqlite_store
from streamcrawl.core import LEASE, Lease
from streamcrawl.errors import ConnectError, Drop, FetchTimeout, ItemRefused, SinkError, TruncatedBody
from streamcrawl.events import ItemDropped, ItemFailed
from streamcrawl.media import MediaFailed, MediaStored
from streamcrawl.media.media import OpenMedia
from streamcrawl.media.open_files import extension
from streamcrawl.operators.files import files
from streamcrawl.storage.store import Chunks, Meta, Place, Stat, StoreError
from streamcrawl.testing import check_sink, run_virtual
from streamcrawl.testing.site import Answer, Arrival, serve

DAY = 86_400
PDF = b"%PDF-1.7 \x00 a file"
ITEM = {"file_urls": [SITE + "/a.pdf"]}


def big(blocks: int = 5) -> list[bytes]:
    return [bytes([n]) * 300_000 for n in range(blocks * 4)]


def stored(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "index"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_file_is_stored_and_reported(tmp_path: Path) -> None:
    changed, run = accepted(files(tmp_path), {"/a.pdf": PDF}, of(ITEM))
    path = f"full/{named(SITE + '/a.pdf', '.pdf')}"
    report = {
        "url": SITE + "/a.pdf",
        "path": path,
        "checksum": hashlib.md5(PDF).hexdigest(),
        "status": "downloaded",
    }
    assert changed == {**ITEM, "files": [report]}
    assert stored(tmp_path) == {path: PDF}
    (request,) = run.requests_made
    assert (request.dont_filter, request.stream, request.max_size, request.skip) == (True, True, 1024**3, ())
    assert (run.stats["file_count"], run.stats["file_status_count/downloaded"]) == (1, 1)


@pytest.mark.parametrize("digest", ["md5", "sha1", "sha256", "blake2b"])
def test_a_large_file_comes_in_chunks(tmp_path: Path, digest: str) -> None:
    changed, run = accepted(files(tmp_path, digest=digest), {"/a.pdf": big()}, of(ITEM))
    (report,) = changed["files"]
    body = b"".join(big())
    assert report["checksum"] == hashlib.new(digest, body).hexdigest()
    assert (tmp_path / report["path"]).read_bytes() == body
    assert run.bodies[0].closed
    again, _ = accepted(files(tmp_path, digest=digest), {}, of(ITEM))
    assert again["files"] == [{**report, "status": "uptodate"}]


def test_every_failure_is_in_the_report_or_left_out(tmp_path: Path) -> None:
    answers = {"/refused": ConnectError("connection refused"), "/robots": "robots.txt", "/empty": b"", "/good": PDF}
    urls = [SITE + path for path in ("/refused", "/robots", "/missing", "/empty", "/good")]
    item = {"file_urls": [*urls, "no url", None]}
    told: list[str] = []

    async def work(opened: OpenMedia, run: Fetching) -> Any:
        run.events.on(MediaFailed, lambda event: told.append(event.error))
        run.events.on(MediaStored, lambda event: told.append(event.report["status"]))
        return await opened.accept(item, ID)

    changed, run = accepted(files(tmp_path), answers, work)
    errors = [report.get("error") for report in changed["files"]]
    assert errors[:5] == ["connection refused", "robots.txt", "HTTP status 404", "empty body", None]
    assert [(error or "")[:18] for error in errors[5:]] == ["invalid URL 'no ur", "invalid URL 'None'"]
    assert Counter(told) == Counter(error or "downloaded" for error in errors)
    assert (run.stats["file_status_count/failed"], run.stats["file_count"]) == (6, 1)

    changed, _ = accepted(files(tmp_path, failures="omit"), answers, of(item))
    assert [report["url"] for report in changed["files"]] == [SITE + "/good"]


@pytest.mark.parametrize(
    ("value", "urls"), [(SITE + "/a", ["/a"]), ((SITE + "/a",), ["/a"]), (None, []), ("", []), ([], [])]
)
def test_a_field_may_hold_one_url_as_text(tmp_path: Path, value: Any, urls: list[str]) -> None:
    changed, _ = accepted(files(tmp_path), {"/a": PDF}, of({"file_urls": value}))
    assert [report["url"] for report in changed["files"]] == [SITE + url for url in urls]


@pytest.mark.parametrize("value", [5, b"http://a.example", {"a": 1}])
def test_a_field_that_holds_no_urls(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ItemRefused, match=r"files: field 'file_urls' holds .*: URLs are needed"):
        accepted(files(tmp_path), {}, of({"file_urls": value}))


def test_one_field_for_both(tmp_path: Path) -> None:
    sink = files(tmp_path, urls_field="docs", result_field="docs")
    changed, _ = accepted(sink, {"/a": PDF}, of({"docs": [SITE + "/a"]}))
    assert [report["status"] for report in changed["docs"]] == ["downloaded"]


def test_a_part_is_no_file_unless_one_was_asked_for(tmp_path: Path) -> None:
    def requests(item: Any) -> list[Request]:
        return [Request(SITE + "/a"), Request(SITE + "/b", headers=Headers({"Range": "bytes=0-3"}))]

    answers = {"/a": Response(SITE, 206, body=b"half"), "/b": Response(SITE, 206, body=b"half")}
    changed, _ = accepted(files(tmp_path, get_media_requests=requests), answers, of({}))
    assert [report.get("error") for report in changed["files"]] == ["HTTP status 206", None]


# -- again ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "expires", "status"),
    [
        (89.9, 90, "uptodate"),
        (90.1, 90, "downloaded"),
        (1.4, 1.5, "uptodate"),
        (1.6, 1.5, "downloaded"),
        (5000, None, "uptodate"),
        (0, 0, "downloaded"),
        (-3, 90, "uptodate"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
def test_expiry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, expires: float | None, status: str, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        first, _ = accepted(files(tmp_path), {"/a.pdf": PDF}, of(ITEM))
        then = time.time() - days * DAY
        os.utime(tmp_path / first["files"][0]["path"], (then, then))
        changed, run = accepted(files(tmp_path, expires=expires), {"/a.pdf": PDF}, of(ITEM))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert changed["files"][0]["status"] == status
    assert run.asked.total() == (status == "downloaded")


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
@pytest.mark.parametrize("kind", ["s3", "gs", "ftp"])
def test_expiry_on_servers_does_not_depend_on_the_zone(
    kind: str, zone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    later = 0.0

    async def work(opened: OpenMedia, run: Any) -> Any:
        run.now = lambda: time.time() + later
        return await opened.accept(ITEM, ID)

    try:
        with ExitStack() as servers:
            where, options = server_of(kind, tmp_path, servers)
            changed, _ = accepted(files(where, **options), {"/a.pdf": PDF}, work)
            for hours, status in ((0, "uptodate"), (5, "uptodate"), (7, "downloaded")):
                later = hours * 3600.0
                again, _ = accepted(files(where, expires=0.25, **options), {"/a.pdf": PDF}, work)
                assert again["files"] == [{**changed["files"][0], "status": status}]
            listed = asyncio.run(listing(where, options))
            assert changed["files"][0]["path"] in listed
            assert any(path.startswith("index/") for path in listed)
    finally:
        monkeypatch.undo()
        time.tzset()


def server_of(kind: str, folder: Path, servers: ExitStack) -> tuple[str, dict[str, Any]]:
    if kind == "ftp":
        return f"{servers.enter_context(ftp_server(folder)).url}/a", {}
    server: Any = servers.enter_context(s3_server("docs") if kind == "s3" else gcs_server("docs"))
    return f"{kind}://docs/a", {"storage": server.storage}


async def listing(where: str, options: dict[str, Any]) -> dict[str, Stat]:
    store = Place(where, **options).open()
    try:
        return await store.list()
    finally:
        await store.close()


def test_what_is_wanted_several_times_is_fetched_once(tmp_path: Path) -> None:
    async def work(opened: OpenMedia, run: Fetching) -> list[Any]:
        run.gate.clear()
        items = [{"file_urls": [SITE + "/a", SITE + f"/{number}"]} for number in range(5)]
        tasks = [asyncio.create_task(opened.accept(item, ID)) for item in items]
        while run.at_once < 6:
            await asyncio.sleep(0)
        run.gate.set()
        at_once = await asyncio.gather(*tasks)
        return [*at_once, await opened.accept(items[0], ID)]

    changed, run = accepted(files(tmp_path, expires=0), {"/a": PDF}, work)
    assert run.asked[SITE + "/a"] == 1
    assert run.asked[SITE + "/0"] == 2, "a failure is not remembered"
    reports = [item["files"][0]["status"] for item in changed]
    assert reports == ["downloaded"] * 5 + ["uptodate"]
    assert run.stats["file_count"] == 6
    assert all(item["files"][0] is not changed[0]["files"][0] for item in changed[1:])


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcrawl.media.media.REMEMBERED", 2)
    items = [{"file_urls": [f"{SITE}/{name}"]} for name in "abcacb"]
    changed, run = accepted(files(tmp_path, expires=0), {f"/{name}": PDF for name in "abc"}, of(*items))
    assert [item["files"][0]["status"] for item in changed] == [
        "downloaded",
        "downloaded",
        "downloaded",
        "downloaded",  # a was forgotten
        "uptodate",
        "downloaded",  # b was
    ]
    assert run.asked.total() == 5


def test_the_same_url_with_another_body_is_another_file(tmp_path: Path) -> None:
    def requests(item: Any) -> list[Request]:
        return [Request(SITE + "/render", method="POST", body=body) for body in (b"one", b"two")]

    def path(request: Request, response: Response | None, item: Any) -> str:
        return request.body.decode() + ".pdf"

    sink = files(tmp_path, get_media_requests=requests, file_path=path)

    def rendered(request: Request) -> bytes:
        return b"rendered " + request.body

    changed, run = accepted(sink, {"/render": rendered}, of({"any": "item"}))
    assert stored(tmp_path) == {"one.pdf": b"rendered one", "two.pdf": b"rendered two"}
    assert [report["path"] for report in changed["files"]] == ["one.pdf", "two.pdf"]
    assert run.asked.total() == 2


def test_a_path_that_hangs_on_the_item_is_not_shared_between_items(tmp_path: Path) -> None:
    sink = files(tmp_path, file_path=lambda request, response, item: f"{item['name']}.pdf")
    items = [{"name": name, "file_urls": [SITE + "/a"]} for name in ("one", "two")]
    accepted(sink, {"/a": PDF}, of(*items))
    assert stored(tmp_path) == {"one.pdf": PDF, "two.pdf": PDF}


def test_a_path_that_hangs_on_the_response(tmp_path: Path) -> None:
    def path(request: Request, response: Response | None, item: Any) -> str | None:
        return None if response is None else f"{item['name']}-{response.status}.pdf"

    items = [{"name": name, "file_urls": [SITE + "/a"]} for name in ("one", "two", "one")]
    changed, run = accepted(files(tmp_path, file_path=path), {"/a": PDF}, of(*items))
    assert sorted(stored(tmp_path)) == ["one-200.pdf", "two-200.pdf"]
    assert run.asked.total() == 3, "nobody knows before whether it is there"
    assert [item["files"][0]["status"] for item in changed] == ["downloaded"] * 3


# -- hooks ------------------------------------------------------------------------------------------------------------


def test_what_was_downloaded_may_be_changed_or_refused(tmp_path: Path) -> None:
    async def unpacked(response: Response, item: Any) -> Response | None:
        if response.request.url.endswith(".gz"):
            return Response(response.url, body=gzip.decompress(await response.read()), request=response.request)
        if response.request.url.endswith("secret"):
            raise Drop("not for us")
        if response.request.url.endswith("bug"):
            raise KeyError("missing")
        return None

    urls = [SITE + path for path in ("/a.gz", "/secret", "/bug", "/plain")]
    answers = {"/a.gz": gzip.compress(PDF), "/secret": PDF, "/bug": PDF, "/plain": PDF}
    changed, run = accepted(files(tmp_path, media_downloaded=unpacked), answers, of({"file_urls": urls}))
    assert [report.get("error") for report in changed["files"]] == [None, "not for us", "KeyError: 'missing'", None]
    assert set(stored(tmp_path).values()) == {PDF}
    assert len(stored(tmp_path)) == 2
    assert all(body.closed for body in run.bodies)


def test_the_item_may_be_completed_by_hand() -> None:
    def first_path(reports: list[dict[str, Any]], item: Any) -> Any:
        good = [report["path"] for report in reports if report["status"] != "failed"]
        if not good:
            raise Drop("no file")
        return {**item, "path": good[0]}

    dropped: list[str] = []

    def parse(page: Response) -> Any:
        yield {"file_urls": [page.urljoin("/a.pdf"), page.urljoin("/missing")]}
        yield {"file_urls": [page.urljoin("/missing")]}

    async def main(url: str, folder: str) -> list[Any]:
        items: list[Any] = []
        crawl = Crawl(url).pipe(
            ops.download(*ops.default_layers(robots_txt=None)),
            ops.scrape(parse),
            ops.files(folder, item_completed=first_path),
        )
        run = crawl.start(on_item=items.append)
        run.events.on(ItemDropped, lambda event: dropped.append(event.reason))
        await run
        return items

    with serve({"/": "start", "/a.pdf": PDF}) as site, tempfile.TemporaryDirectory() as folder:
        (item,) = asyncio.run(main(site.url, folder))
    assert item["path"] == f"full/{named(site.url + '/a.pdf', '.pdf')}"
    assert "files" not in item
    assert dropped == ["no file"]


@pytest.mark.parametrize("hook", ["get_media_requests", "item_completed"])
def test_an_error_of_the_system_in_a_function_of_the_user_is_not_that_of_the_store(tmp_path: Path, hook: str) -> None:
    def broken(*arguments: Any) -> Any:
        item: Any = arguments[-1]
        if item["name"] == "bad":
            raise FileNotFoundError(2, "No such file or directory")
        return [] if hook == "get_media_requests" else item

    told: list[str] = []

    def parse(page: Response) -> Any:
        yield {"name": "bad"}
        yield {"name": "good"}

    async def main(url: str) -> list[Any]:
        items: list[Any] = []
        hooks: dict[str, Any] = {hook: broken}
        sink = ops.files(tmp_path, **hooks)
        run = Crawl(url).pipe(ops.download(), ops.scrape(parse), sink).start(on_item=items.append)
        run.events.on(ItemFailed, lambda event: told.append(str(event.error)))
        summary = await run
        assert summary.error is None
        return items

    with serve({"/": "start"}) as site:
        items = asyncio.run(main(site.url))
    assert [item["name"] for item in items] == ["good"]
    assert told == [f"{hook}: FileNotFoundError: No such file or directory"]


# -- requests ---------------------------------------------------------------------------------------------------------


def test_what_the_requests_carry(tmp_path: Path) -> None:
    page = Request(SITE + "/page?a=1", cookiejar="ada")
    lease = Lease(7, page, SITE, lambda lease: None)

    async def work(opened: OpenMedia, _: Fetching) -> None:
        LEASE.set(lease)
        urls = [SITE + "/a", "https://cdn.example/b", "http://shop.example/c"]
        await opened.accept({"file_urls": urls}, ID)

    _, run = accepted(files(tmp_path, skip=("scope", "robots_txt"), redirects=False, max_size=5), {}, work)
    # They are looked up in the store in threads, so any of them may be the first.
    assert {request.url: request.referrer for request in run.requests_made} == {
        SITE + "/a": SITE + "/page?a=1",
        "https://cdn.example/b": SITE + "/",
        "http://shop.example/c": None,
    }
    assert {request.cookiejar for request in run.requests_made} == {"ada"}
    assert {request.skip for request in run.requests_made} == {("scope", "robots_txt")}
    assert {(request.max_redirects, request.max_size) for request in run.requests_made} == {(0, 5)}
    assert run.parents == [lease] * 3
    _, run = accepted(files(tmp_path, referer="no-referrer", max_size=None), {}, work)
    assert [request.referrer for request in run.requests_made] == [None] * 3
    assert {request.max_size for request in run.requests_made} == {None}


def test_requests_as_people_write_them(tmp_path: Path) -> None:
    lease = Lease(7, Request(SITE + "/page"), SITE, lambda lease: None)
    headers: Any = {"Referer": "https://other.example/", "X-Key": "5"}
    body: Any = "text"

    def requests(item: Any) -> list[Request]:
        return [
            Request(SITE + "/a", headers=headers),
            Request(SITE + "/b", method="post", body=body, referrer_policy="origin"),
            Request(SITE + "/c", headers=item["headers"]),
        ]

    async def work(opened: OpenMedia, _: Fetching) -> Any:
        LEASE.set(lease)
        return await opened.accept({"headers": 5}, ID)

    changed, run = accepted(files(tmp_path, get_media_requests=requests), {"/a": PDF, "/b": PDF}, work)
    first, second = sorted(run.requests_made, key=lambda request: request.url)
    assert (first.headers["x-key"], first.referrer) == ("5", None)
    assert (second.method, second.body, second.referrer) == ("POST", b"text", SITE + "/")
    assert changed["files"][2]["error"] == "TypeError: headers=5: a dict, or Headers"


def crawled(sink: Any, routes: Any, *layers: Any, parse: Any = None) -> tuple[list[Any], Any, Any]:
    """(items, site, summary) of a crawl of one page that names /file."""

    def named_file(page: Response) -> Any:
        yield {"file_urls": [page.urljoin("/file")]}

    async def main(url: str) -> Any:
        crawl = Crawl(url).pipe(ops.download(*layers), ops.scrape(parse or named_file), sink)
        return await crawl.start(on_item=items.append)

    items: list[Any] = []
    with serve({"/": "start", **routes}) as site:
        summary = asyncio.run(main(site.url))
    assert summary.balanced
    return items, site, summary


def test_redirects_are_followed_and_told(tmp_path: Path) -> None:
    moved = {
        "/file": Answer(status=302, headers={"Location": "/b"}),
        "/b": Answer(status=301, headers={"Location": "/c"}),
    }
    layers = ops.default_layers(robots_txt=None)
    ((item,), site, _) = crawled(ops.files(tmp_path), {**moved, "/c": PDF}, *layers)
    (report,) = item["files"]
    assert (report["url"], report["path"]) == (site.url + "/file", f"full/{named(site.url + '/file', '')}")
    assert report["redirects"] == [site.url + "/b", site.url + "/c"]

    ((item,), site, _) = crawled(ops.files(tmp_path, redirects=False), {**moved, "/c": PDF}, *layers)
    assert item["files"] == [{"url": site.url + "/file", "status": "failed", "error": "HTTP status 302"}]
    assert site.count("/b") == 0


def test_files_go_through_the_layers_of_the_crawl(tmp_path: Path) -> None:
    robots = {"/robots.txt": Answer("User-agent: *\nDisallow: /file", headers={"Content-Type": "text/plain"})}
    answers = [Answer(status=503), Answer(PDF)]

    def flaky(arrival: Arrival) -> Answer:
        return answers.pop(0)

    routes = {**robots, "/file": flaky}
    retry = ops.retry(wait=lambda repeat, random: 0.0)
    ((item,), site, _) = crawled(ops.files(tmp_path), routes, *ops.default_layers(retry=retry))
    assert item["files"][0]["error"] == "robots.txt"
    assert site.count("/file") == 0
    layers = ops.default_layers(retry=retry)
    ((item,), site, _) = crawled(ops.files(tmp_path, skip=("robots_txt",)), routes, *layers)
    assert (item["files"][0]["status"], site.count("/file")) == ("downloaded", 2)
    scope = ops.default_layers(
        robots_txt=None, scope=ops.scope("elsewhere.example", "127.0.0.1", deny=lambda r: "file" in r.url)
    )
    ((item,), site, _) = crawled(ops.files(tmp_path), {"/file": PDF}, *scope)
    assert item["files"][0]["error"] == "off-site"
    ((item,), site, _) = crawled(ops.files(tmp_path, skip=("scope",)), {"/file": PDF}, *scope)
    assert item["files"][0]["status"] == "downloaded"


def test_a_page_does_not_lead_to_files_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")

    def parse(page: Response) -> Any:
        yield {"file_urls": [secret.as_uri()]}

    ((item,), _, _) = crawled(ops.files(tmp_path / "store"), {}, *ops.default_layers(robots_txt=None), parse=parse)
    assert item["files"][0]["status"] == "failed"
    assert stored(tmp_path / "store") == {}


def test_out_of_the_http_cache(tmp_path: Path) -> None:
    fresh = Answer(PDF, headers={"Cache-Control": "max-age=1000"})
    cache = ops.http_cache(store=sqlite_store(tmp_path / "cache.sqlite"))
    layers = ops.default_layers(robots_txt=None, http_cache=cache)

    def parse(page: Response) -> Any:
        yield {"file_urls": [page.urljoin("/file")]}

    async def main(url: str) -> list[str]:
        crawl = Crawl(url).pipe(ops.download(*layers), ops.scrape(parse), ops.files(tmp_path, expires=0))
        return [(await crawl.collect())[0]["files"][0]["status"] for _ in range(2)]

    with serve({"/": "start", "/file": fresh}) as site:
        assert asyncio.run(main(site.url)) == ["downloaded", "cached"]
        assert site.count("/file") == 1


# -- what breaks ------------------------------------------------------------------------------------------------------


def test_what_breaks_off_in_the_middle_is_fetched_again(tmp_path: Path) -> None:
    bodies = [
        Body(big(), TruncatedBody("the body ended before its time")),
        Body([b"short"], FetchTimeout("nothing came")),
        Body([PDF]),
    ]

    def next_body(request: Request) -> Body:
        return bodies.pop(0)

    async def main() -> None:
        run = Fetching({"/a.pdf": next_body})
        opened = files(tmp_path).open(run)
        changed = await opened.accept(ITEM, ID)
        assert changed["files"][0]["status"] == "downloaded"
        bodies.extend(Body(big(), TruncatedBody("too short")) for _ in range(5))
        changed = await opened.accept({"file_urls": [SITE + "/a.pdf?again"]}, ID)
        assert changed["files"][0].get("error") == "HTTP status 404"
        run.answers["/b"] = next_body
        changed = await opened.accept({"file_urls": [SITE + "/b"]}, ID)
        assert changed["files"][0]["error"] == "too short"
        assert len(bodies) == 2, "three times"
        assert all(body.closed for body in run.bodies)
        await opened.close()

    run_virtual(main())
    assert list(stored(tmp_path).values()) == [PDF]


class Lost:
    """A store that is there, and then is not."""

    name = "lost"

    def __init__(self, error: Exception, when: str) -> None:
        self.error = error
        self.when = when

    def open(self) -> Lost:
        return self

    async def put(self, path: str, data: Chunks, meta: Meta = Meta()) -> None:  # noqa: B008 - it is frozen
        if self.when == "put":
            raise self.error

    async def stat(self, path: str, digest: str = "") -> Stat | None:
        if self.when == "stat":
            raise self.error
        return None

    async def read(self, path: str) -> bytes:
        raise NotImplementedError

    async def delete(self, path: str) -> bool:
        raise NotImplementedError

    async def list(self, folder: str = "") -> dict[str, Stat]:
        raise NotImplementedError

    def url(self, path: str) -> str:
        return path

    async def close(self) -> None: ...


@pytest.mark.parametrize("when", ["put", "stat"])
@pytest.mark.parametrize("urls", [1, 3])
def test_a_store_that_is_lost_stops_the_run_and_no_item_passes(when: str, urls: int) -> None:
    sink = files(Lost(StoreError("store lost: No space left on device"), when), index=False)
    passed: list[Any] = []

    def parse(page: Response) -> Any:
        yield {"file_urls": [page.urljoin(f"/file{n}") for n in range(urls)]}

    async def main(url: str) -> Any:
        return await Crawl(url).pipe(ops.download(), ops.scrape(parse), sink).start(on_item=passed.append)

    with serve({"/": "start", "/file*": PDF}) as site:
        summary = asyncio.run(main(site.url))
    assert summary.reason == "failed"
    assert isinstance(summary.error, SinkError)
    assert "No space left on device" in str(summary.error)
    assert passed == []


def test_a_name_that_the_store_does_not_take_is_that_files_failure(tmp_path: Path) -> None:
    long = "x" * 300
    sink = files(tmp_path, file_path=lambda request, response, item: request.url.rpartition("/")[2])
    urls = [f"{SITE}/{name}" for name in (long, "short", "..", "")]
    answers = {f"/{name}": PDF for name in (long, "short", "..", "")}
    changed, _ = accepted(sink, answers, of({"file_urls": urls}))
    assert [report["status"] for report in changed["files"]] == ["failed", "downloaded", "failed", "failed"]
    assert "File name too long" in changed["files"][0]["error"]
    assert "no path within it" in changed["files"][2]["error"]
    assert stored(tmp_path) == {"short": PDF}


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://a/b.pdf", ".pdf"),
        ("http://a/b.PDF?c=d.exe#x.y", ".PDF"),
        ("http://a/b.tar.gz", ".gz"),
        ("http://a/b", ""),
        ("http://a.com", ""),
        ("http://a/b." + "x" * 300, ""),
        ("http://a/b.unknown1", ""),
        ("http://a/b.%2e%2e", ""),
        ("http://a/.pdf", ""),
        ("http://[a/b.pdf", ""),
    ],
)
def test_extensions(url: str, wanted: str) -> None:
    assert extension(url) == wanted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"store": ""}, "store=''"),
        ({"urls_field": ""}, "names of fields"),
        ({"expires": -1}, "expires=-1: days, 0 or more; None: never"),
        ({"expires": float("inf")}, "expires=inf"),
        ({"failures": "drop"}, "failures='drop'"),
        ({"digest": "md6"}, "digest='md6': one of blake2b"),
        ({"digest": "shake_128"}, "digest='shake_128'"),
        ({"referer": "always"}, "referer='always': one of no-referrer"),
        ({"max_size": 0}, "max_size=0: 1 byte or more"),
        ({"acl": "public-read"}, "acl='public-read': stores of file: have none"),
    ],
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        files(arguments.pop("store", "x"), **arguments)


def test_no_credentials_are_shown() -> None:
    sink = files("ftp://ada:secret@host.example/a", storage={"password": "hidden"})
    assert sink.name == "files(ftp://host.example/a)"
    assert "hidden" not in repr(sink)
    assert isinstance(files(Place("x")).options.store, Place)


def test_it_keeps_the_contract_of_sinks(tmp_path: Path) -> None:
    items = [{"n": n, "file_urls": [f"https://shop.example/{n}"] * (n % 2)} for n in range(6)]
    report = check_sink(files(tmp_path), items=items, at_once=True)
    assert report.came["replaced"] == report.offered > 0


# -- the index --------------------------------------------------------------------------------------------------------


def test_the_index_says_where_files_came_from(tmp_path: Path) -> None:
    async def work(opened: OpenMedia, run: Fetching) -> Any:
        await opened.accept({"file_urls": [SITE + "/a", SITE + "/missing"]}, ID)
        await opened.flush()
        await opened.accept({"file_urls": [SITE + "/b", SITE + "/a"]}, ID)

    accepted(files(tmp_path), {"/a": PDF, "/b": PDF}, work)
    (path,) = (tmp_path / "index").iterdir()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["url"] for record in records] == [SITE + "/a", SITE + "/b"]
    assert all((tmp_path / record["path"]).exists() for record in records)
    assert all(abs(record["stored"] - time.time()) < 60 for record in records)
    accepted(files(tmp_path / "without", index=False), {"/a": PDF, "/b": PDF}, work)
    assert not (tmp_path / "without" / "index").exists()


def test_the_index_has_files_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcrawl.media.index.RECORDS", 3)
    items = [{"file_urls": [f"{SITE}/{number}"]} for number in range(7)]
    accepted(files(tmp_path), {f"/{number}": PDF for number in range(7)}, of(*items))
    sizes = [len(path.read_text().splitlines()) for path in sorted((tmp_path / "index").iterdir())]
    assert sizes == [3, 3, 1]
