"""Cassettes: what is recorded comes again, without a network, the same each time."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from through import Spy, piped, through

from streamcrawl import Crawl, Failed, Headers, Request, Response, errors
from streamcrawl import operators as ops
from streamcrawl.core import Fetch, Outcome
from streamcrawl.errors import ConnectError, FetchError, ProtocolError, ProxyError, TruncatedBody
from streamcrawl.events import Notice
from streamcrawl.testing import Chunks, FakeFetch, Web, page, run_virtual
from streamcrawl.testing.cassette import Recording, Replaying, recording, replaying, with_fetch
from streamcrawl.testing.cassette_file import (
    CassetteError,
    Header,
    KeptRequest,
    KeptResponse,
    Writer,
    as_text,
    body_of,
    part_of,
    read,
    scan,
)
from streamcrawl.testing.cassette_replay import Missing, NotRecorded
from streamcrawl.testing.cassette_rules import SECRETS, Rules
from streamcrawl.testing.site import Answer, serve

HOME = "https://shop.example/"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.cassette"


def record(path: Path, site: Any, *requests: Request | str, **options: Any) -> list[Outcome]:
    """Record these requests, one after the other, with no layers but a spy."""
    fetch: Any = site if callable(site) else FakeFetch(site)
    return exchange(recording(path, fetch=fetch, **options), *requests)


def exchange(fetch: Any, *requests: Request | str, spy: Spy | None = None) -> list[Outcome]:
    """The outcomes of these requests in one run, one after the other."""
    found: list[Outcome] = []

    async def one_by_one() -> AsyncIterator[Request]:
        for each in requests:
            yield Request(each, dont_filter=True) if isinstance(each, str) else each.replace(dont_filter=True)

    def keep(outcome: Outcome) -> None:
        found.append(outcome)

    crawl = Crawl(one_by_one(), concurrency=1, scope="any").pipe(
        ops.download((spy or Spy()).layer, fetch=fetch), ops.scrape(keep, errback=keep, defaults=False)
    )
    run_virtual(crawl.collect())
    return found


def bodies(outcomes: list[Outcome]) -> list[str]:
    return [each.text if isinstance(each, Response) else repr(each) for each in outcomes]


def failure(outcomes: list[Outcome]) -> Exception:
    (failed,) = outcomes
    assert isinstance(failed, Failed), failed
    return failed.error


def no_fetch(request: Request) -> Any:
    raise AssertionError(f"{request!r} went to the wire")


# -- whole crawls -----------------------------------------------------------------------------------------------------


def urls(response: Response) -> Iterator[Any]:
    yield {"url": response.url, "size": len(response.body), "status": response.status}
    yield from response.follow_all(css="a")


@pytest.mark.parametrize("latency", [0.0, 0.25, "recorded"])
@pytest.mark.parametrize("seed", range(3))
def test_a_crawl_comes_again(path: Path, seed: int, latency: Any) -> None:
    web = Web(pages=40, hosts=3, seed=seed)
    fetch = web.fetch(latency=lambda request: len(request.url) % 5)
    crawl = Crawl(web.start, scope="any", seed=1).pipe(ops.download(fetch=fetch), ops.scrape(urls))
    items = run_virtual(with_fetch(crawl, recording(path)).collect())
    asked = len(fetch.log)
    assert asked > 30

    again = with_fetch(crawl, replaying(path, latency=latency))
    first, second = run_virtual(again.collect()), run_virtual(again.collect())
    assert first == second
    assert sorted(first, key=str) == sorted(items, key=str)
    assert len(fetch.log) == asked, "nothing was fetched"


def test_the_recorded_order_comes_with_the_recorded_latency(path: Path) -> None:
    site: dict[str, Any] = {"/": page(links=["/slow", "/quick"]), "/slow": "slow", "/quick": "quick"}
    fetch = FakeFetch(site, latency=lambda request: 3.0 if "slow" in request.url else 0.5)
    crawl = Crawl(HOME).pipe(ops.download(fetch=fetch), ops.scrape(urls))

    def order(crawl: Crawl[Any]) -> list[str]:
        return [item["url"] for item in run_virtual(crawl.collect())]

    recorded = order(with_fetch(crawl, recording(path)))
    assert recorded == [HOME, f"{HOME}quick", f"{HOME}slow"]
    assert order(with_fetch(crawl, replaying(path, latency="recorded"))) == recorded
    assert order(with_fetch(crawl, replaying(path))) == [HOME, f"{HOME}slow", f"{HOME}quick"]


def test_robots_txt_and_redirects_are_a_part_of_it(path: Path) -> None:
    site: dict[str, Any] = {
        "/robots.txt": page("User-agent: *\nDisallow: /private", headers={"Content-Type": "text/plain"}),
        "/": page(links=["/moved", "/private/x"]),
        "/moved": page(status=302, headers={"Location": "/new"}),
        "/new": "<h1>New</h1>",
    }
    fetch = FakeFetch(site)
    crawl = Crawl(HOME).pipe(ops.download(fetch=fetch), ops.scrape(urls))
    run_virtual(with_fetch(crawl, recording(path)).collect())
    assert fetch.hits[f"{HOME}robots.txt"] == 1

    async def main() -> Any:
        return await with_fetch(crawl, replaying(path)).start()

    summary = run_virtual(main())
    assert summary.counts.dropped == {"robots.txt": 1}
    assert summary.pages == 2
    assert summary.stats["cassette/replayed"] == 4
    assert fetch.hits[f"{HOME}robots.txt"] == 1


def test_a_real_site_is_replayed_when_it_is_gone(path: Path) -> None:
    links = "".join(f'<a href="/{n}">{n}</a>' for n in range(10))
    with serve({"/": links, **{f"/{n}": f"<h1>{n}</h1>" for n in range(9)}}) as site:
        crawl = Crawl(f"{site.url}/").pipe(ops.download(), ops.scrape(urls))
        items = asyncio.run(with_fetch(crawl, recording(path)).collect())
    assert len(items) == 10
    again = asyncio.run(with_fetch(crawl, replaying(path)).collect())
    assert sorted(again, key=str) == sorted(items, key=str)
    (home,) = [each for each, _ in scan(path).exchanges if each.url == f"{site.url}/"]
    assert home.method == "GET"


# -- what it is known by ----------------------------------------------------------------------------------------------


def test_several_answers_come_in_their_order_and_the_last_one_stays(path: Path) -> None:
    record(path, {"/": ["one", "two", "three"]}, HOME, HOME, HOME)
    assert bodies(exchange(replaying(path), *[HOME] * 5)) == ["one", "two", "three", "three", "three"]
    assert bodies(exchange(replaying(path), HOME)) == ["one"], "another run begins at the beginning"


def echo(request: Request) -> Response:
    jar = "" if request.cookiejar is None else request.cookiejar
    text = f"{request.method} {request.headers.get('accept-language', '')} {jar} {len(request.body)}"
    return Response(request.url, 200, Headers({"Content-Type": "text/plain"}), text.encode())


async def echoing(request: Request) -> Response:
    return echo(request)


def in_language(name: str, **options: Any) -> Request:
    return Request(HOME, headers=Headers({"Accept-Language": name}), **options)


@pytest.mark.parametrize(
    ("requests", "options"),
    [
        ([Request(HOME), Request(HOME, method="POST"), Request(HOME, method="POST", body=b"a=1")], {}),
        ([in_language("de"), in_language("fr")], {"match": ["Accept-Language"]}),
        ([in_language(name, fingerprint_headers=("Accept-Language",)) for name in ("de", "fr", "it")], {}),
        ([Request(HOME), Request(HOME, cookiejar="a"), Request(HOME, cookiejar="b")], {}),
        ([Request(HOME, method="POST", body=bytes([255, n])) for n in range(3)], {}),
    ],
    ids=["method and body", "match", "fingerprint_headers", "cookiejar", "binary body"],
)
def test_what_makes_another_request(path: Path, requests: list[Request], options: Any) -> None:
    answers = bodies(record(path, echoing, *requests, **options))
    assert bodies(exchange(replaying(path), *reversed(requests))) == answers[::-1]


def test_what_makes_no_other_request(path: Path) -> None:
    record(path, echoing, in_language("de").replace(url=f"{HOME}?b=2&a=1"))
    (same,) = exchange(replaying(path), in_language("fr").replace(url=f"{HOME.upper()}?a=1&b=2#part"))
    assert isinstance(same, Response)
    assert same.text.startswith("GET de")


def test_a_form_with_files_has_another_boundary_each_time(path: Path) -> None:
    def upload(boundary: str) -> Request:
        kind = Headers({"Content-Type": f"multipart/form-data; boundary={boundary}"})
        body = f"--{boundary}\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--{boundary}--\r\n"
        return Request(HOME, method="POST", headers=kind, body=body.encode())

    record(path, echoing, upload("abc123"))
    (answer,) = exchange(replaying(path), upload("xyz987654"))
    assert isinstance(answer, Response)


@pytest.mark.parametrize(
    ("request_", "hint"),
    [
        (
            Request(f"{HOME}other"),
            "GET https://shop.example/other is not in the cassette {path}: nothing of that URL is",
        ),
        (
            Request(HOME, method="DELETE"),
            "DELETE https://shop.example/ is not in the cassette {path}: it has GET, POST",
        ),
        (
            Request(HOME, method="POST", body=b"x"),
            "POST https://shop.example/ is not in the cassette {path}: it has it w",
        ),
        (in_language("fr"), "it has it with other header fields, or of another cookie jar"),
    ],
)
def test_what_was_not_recorded_is_one_failure_that_names_it(path: Path, request_: Request, hint: str) -> None:
    record(path, echoing, in_language("de"), Request(HOME, method="POST", body=b"a"), match=("accept-language",))
    spy = Spy()
    (failed,) = exchange(replaying(path, fetch=no_fetch), request_, spy=spy)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, NotRecorded)
    assert hint.format(path=path) in str(failed.error)
    assert spy.stats["cassette/missing"] == 1
    (missing,) = [event for event in spy.events if isinstance(event, Missing)]
    assert missing.text == str(failed.error)


def test_what_was_not_recorded_is_not_tried_again(path: Path) -> None:
    record(path, echoing, HOME)
    (failed,) = through(*ops.default_layers(robots_txt=None), to=[f"{HOME}x"], fetch=cast(Any, replaying(path)))
    assert isinstance(failed, Failed)
    assert failed.request.attempt == 0


def test_new_ones_are_added(path: Path) -> None:
    fetch = FakeFetch({"/a": "A", "/b": ["B", "B again"]})
    assert bodies(exchange(replaying(path, mode="new", fetch=fetch), f"{HOME}a")) == ["A"]
    new = replaying(path, mode="new", fetch=fetch)
    assert bodies(exchange(new, f"{HOME}a", f"{HOME}b", f"{HOME}b")) == ["A", "B", "B again"]
    assert bodies(exchange(new, f"{HOME}b", f"{HOME}a", f"{HOME}b")) == ["B", "A", "B again"]
    assert dict(fetch.hits) == {f"{HOME}a": 1, f"{HOME}b": 2}
    assert len(scan(path).exchanges) == 3


def test_a_data_url_needs_no_cassette(path: Path) -> None:
    record(path, echoing, HOME)
    assert bodies(exchange(replaying(path), "data:text/plain,hello")) == ["hello"]


# -- failures ---------------------------------------------------------------------------------------------------------

KINDS = [
    kind for name in dir(errors) if isinstance(kind := getattr(errors, name), type) and issubclass(kind, FetchError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_failure_comes_again(path: Path, kind: type[FetchError]) -> None:
    first = failure(record(path, {"/": kind("it went wrong")}, HOME))
    again = failure(exchange(replaying(path), HOME))
    assert (type(again), str(again)) == (type(first), str(first)) == (kind, "it went wrong")


def test_what_a_proxy_said_comes_again(path: Path) -> None:
    record(path, {"/": ProxyError("banned", proxy="http://proxy.example", status=403, beyond=True)}, HOME)
    again = failure(exchange(replaying(path), HOME))
    assert isinstance(again, ProxyError)
    assert (again.proxy, again.status, again.beyond) == ("http://proxy.example", 403, True)


def test_a_failure_of_a_class_of_ones_own_is_the_nearest_known(path: Path) -> None:
    class Worse(ConnectError):
        pass

    record(path, {"/": Worse("no")}, HOME)
    assert type(failure(exchange(replaying(path), HOME))) is ConnectError


def test_a_bug_in_the_fetch_is_not_recorded(path: Path) -> None:
    error = failure(record(path, {"/": KeyError("a bug")}, HOME))
    assert "a bug" in str(error)
    assert scan(path).exchanges == []


def test_failures_are_retried_as_ever(path: Path) -> None:
    site: dict[str, Any] = {"/": [ConnectError("no"), page(status=503), "<h1>Home</h1>"]}
    crawl = Crawl(HOME).pipe(ops.download(fetch=FakeFetch(site)), ops.scrape(urls))
    run_virtual(with_fetch(crawl, recording(path)).collect())
    (item,) = run_virtual(with_fetch(crawl, replaying(path)).collect())
    assert item["status"] == 200


# -- bodies -----------------------------------------------------------------------------------------------------------

TYPES = [
    "",
    "text/html",
    "text/html; charset=utf-8",
    'text/html; charset="iso-8859-1"',
    "text/html; charset=iso-2022-jp",
]


@given(
    body=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "ignore")),
    kind=st.sampled_from([*TYPES, "text/plain; charset=utf-16", "text/plain; charset=nonsense", "x; charset=base64"]),
    large=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_body_is_the_same_again(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, kind: str, large: bool
) -> None:
    path = tmp_path_factory.mktemp("bodies") / "f"
    writer = Writer.new(path, Rules(), 0.0)
    request, response = KeptRequest("GET", HOME), KeptResponse(200, headers=(("Content-Type", kind),))
    writer.write(request, response, io.BytesIO(body) if large else body)
    writer.write(request, response, b"next")
    writer.close()
    with path.open("rb") as file:
        ((_, at), (_, after)) = scan(path).exchanges
        exchange = read(file, at, path)
        assert exchange.response is not None
        assert exchange.response.headers == response.headers
        assert b"".join(body_of(file, exchange)) == body
        assert b"".join(body_of(file, read(file, after, path))) == b"next"


def test_text_is_readable_line_by_line(path: Path) -> None:
    record(path, {"/": page("<h1>Grüße</h1>\n<p>\u2028\n", headers={"X-One": "1"})}, HOME, redact=("authorization",))
    first, *lines = path.read_text("utf-8").split("\n")
    header = json.loads(first)
    assert (header["cassette"], header["redact"]) == (1, ["authorization"])
    assert header["date"] == "2030-01-01T00:00:00Z"
    assert lines == [
        '{"request": {"method": "GET", "url": "https://shop.example/"},',
        ' "response": {"status": 200, "seconds": 0.0, "latency": 0.0, "headers": [',
        '  ["X-One", "1"],',
        '  ["Content-Type", "text/html; charset=utf-8"]',
        " ]},",
        ' "text": [',
        '  "<h1>Grüße</h1>\\n",',
        '  "<p>\u2028\\n"',
        " ]",
        "}",
        "",
    ]


@pytest.mark.parametrize(
    ("body", "kind", "readable", "charset"),
    [
        ("Grüße".encode(), "", True, ""),
        ("Grüße".encode("latin-1"), "text/html; charset=ISO-8859-1", True, "iso-8859-1"),
        ("Grüße".encode("latin-1"), "text/html", False, ""),
        (b"\x89PNG\r\n\x1a\n\0", "image/png", False, ""),
        ("日本\n日本\n".encode("iso-2022-jp"), "text/html; charset=iso-2022-jp", True, ""),
        (b"x" * (1024 * 1024 + 1), "text/plain", False, ""),
        (b"", "text/plain", False, ""),
    ],
)
def test_what_is_text(body: bytes, kind: str, readable: bool, charset: str) -> None:
    text, found = as_text(body, KeptResponse(200, headers=(("Content-Type", kind),)))
    assert (text is not None, found) == (readable, charset)


def test_a_response_is_whole(path: Path) -> None:
    def answer(request: Request) -> Response:
        return Response(
            "https://elsewhere.example/",
            203,
            Headers([("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")]),
            b"\xff\xfe",
            request,
            flags=("browser",),
            protocol="HTTP/2",
            ip_address="192.0.2.1",
            wire_size=77,
        )

    record(path, {"/": answer}, HOME, redact=())
    (made,) = exchange(replaying(path, latency=1.5), HOME)
    assert isinstance(made, Response)
    assert (made.status, made.body, made.flags, made.protocol) == (203, b"\xff\xfe", ("browser",), "HTTP/2")
    assert made.headers.getall("set-cookie") == ["a=1; Path=/", "b=2"]
    assert (made.ip_address, made.wire_size, made.latency) == ("192.0.2.1", 77, 1.5)


# -- streamed bodies --------------------------------------------------------------------------------------------------


def streamed(body: bytes, error: Exception | None = None) -> Callable[[Request], Response]:
    return lambda request: Response(request.url, request=request, stream=Chunks(body, size=1000, error=error))


def pour(fetch: Any, enough: int | None = None) -> tuple[bytes, list[Exception]]:
    """A streamed page, read as far as `enough` says; and what reading raised."""
    read, raised = bytearray(), list[Exception]()

    async def callback(response: Response) -> None:
        assert response.stream is not None
        try:
            async for chunk in response.stream:
                read.extend(chunk)
                if enough is not None and len(read) >= enough:
                    break
        except FetchError as error:
            raised.append(error)

    crawl = Crawl(Request(HOME, stream=True)).pipe(ops.download(Spy().layer, fetch=fetch), ops.scrape(callback))
    run_virtual(crawl.collect())
    return bytes(read), raised


@pytest.mark.parametrize("size", [0, 10, 5_000, 3_000_000])
def test_a_streamed_body_is_recorded_and_streamed_again(path: Path, size: int) -> None:
    body = (b"0123456789\n" * size)[:size]
    assert pour(recording(path, fetch=FakeFetch({"/": streamed(body)}))) == (body, [])
    assert pour(replaying(path)) == (body, [])
    (whole,) = exchange(replaying(path), HOME)
    assert isinstance(whole, Response)
    assert whole.body == body
    assert list(path.parent.iterdir()) == [path]


def test_a_whole_body_may_be_streamed_when_it_is_replayed(path: Path) -> None:
    record(path, {"/": "x" * 200_000}, HOME)
    assert pour(replaying(path)) == (b"x" * 200_000, [])


def test_a_body_that_broke_off_does_so_again(path: Path) -> None:
    broken = streamed(b"a" * 2500, TruncatedBody("it ended before its time"))
    (first,) = pour(recording(path, fetch=FakeFetch({"/": broken})))[1]
    read, (again,) = pour(replaying(path))
    assert (read, type(again), str(again)) == (b"a" * 2500, TruncatedBody, str(first))
    assert isinstance(failure(exchange(replaying(path), HOME)), TruncatedBody)


def test_of_a_body_that_was_not_read_to_its_end_there_is_what_was_read(path: Path) -> None:
    pour(recording(path, fetch=FakeFetch({"/": streamed(b"a" * 9000)})), enough=3000)
    assert pour(replaying(path), enough=3000) == (b"a" * 3000, [])
    read, (error,) = pour(replaying(path))
    assert read == b"a" * 3000
    assert isinstance(error, NotRecorded)
    assert "the rest of the body was not read when it was recorded" in str(error)


def test_the_size_limit_of_a_request_holds(path: Path) -> None:
    record(path, {"/": "x" * 200_000}, HOME)
    error = failure(exchange(replaying(path), Request(HOME, max_size=100_000)))
    assert isinstance(error, errors.BodyTooLarge)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_is_written_down_by_default(path: Path) -> None:
    request = Request(
        "https://me:hidden@shop.example/",
        headers=Headers({"Authorization": "Bearer hidden", "Cookie": "id=hidden; b=hidden", "X-Other": "seen"}),
    )
    site = {"/": page("ok", headers={"Set-Cookie": "id=hidden; Path=/; Secure", "X-Answer": "seen"})}
    record(path, site, request)
    text = path.read_text()
    assert "hidden" not in text
    assert "Bearer REDACTED" in text
    assert "id=REDACTED; b=REDACTED" in text
    assert "id=REDACTED; Path=/; Secure" in text
    assert text.count("seen") == 2
    assert bodies(exchange(replaying(path), request)) == ["ok"], "and it is found all the same"


def test_secrets_of_ones_own(path: Path) -> None:
    form = Headers({"Content-Type": "application/x-www-form-urlencoded", "X-Key": "hidden"})
    request = Request(f"{HOME}?q=1&api_key=hidden", method="POST", headers=form, body=b"user=me&pass%20word=hidden")
    options: dict[str, Any] = {"redact": ("x-key", "?api_key", "?pass word")}
    record(path, {"/": "ok"}, request, **options)
    assert "hidden" not in path.read_text()
    assert bodies(exchange(replaying(path), request)) == ["ok"]
    assert isinstance(failure(exchange(replaying(path), request.replace(body=b"user=you"))), NotRecorded)


def test_an_address_that_is_redirected_to_has_its_secrets_too(path: Path) -> None:
    site: dict[str, Any] = {
        "/": page(status=302, headers={"Location": "/in?token=hidden&a=1"}),
        "/in": page("<h1>In</h1>"),
    }
    crawl = Crawl(HOME).pipe(ops.download(fetch=FakeFetch(site)), ops.scrape(urls))
    run_virtual(with_fetch(crawl, recording(path, redact=("?token",))).collect())
    assert "hidden" not in path.read_text()
    (item,) = run_virtual(with_fetch(crawl, replaying(path)).collect())
    assert item["url"] == f"{HOME}in?token=REDACTED&a=1"


def test_scrub_sees_every_text(path: Path) -> None:
    def scrub(text: str) -> str:
        return text.replace("hidden", "***")

    request = Request(f"{HOME}hidden", method="POST", headers=Headers({"X-A": "hidden"}), body=b'{"a": "hidden"}')
    site = {"/hidden": page("<p>hidden</p>", headers={"X-B": "hidden"}), "/x": ConnectError("no way to hidden")}
    record(path, site, request, f"{HOME}x", scrub=scrub)
    assert "hidden" not in path.read_text()
    assert bodies(exchange(replaying(path, scrub=scrub), request)) == ["<p>***</p>"]
    large = b"hidden " * 300_000
    pour(recording(path, fetch=FakeFetch({"/": streamed(large)}), scrub=scrub))
    assert pour(replaying(path, scrub=scrub))[0] == large.replace(b"hidden", b"***")


def test_everything_is_written_down_if_it_is_asked_for(path: Path) -> None:
    request = Request("https://me:secret@shop.example/", headers=Headers({"Cookie": "id=secret"}))
    record(path, {"/": page("ok", headers={"Set-Cookie": "id=secret"})}, request, redact=())
    assert path.read_text().count("secret") == 3


# -- the file ---------------------------------------------------------------------------------------------------------


def test_what_was_being_written_when_it_was_killed_does_not_count(path: Path) -> None:
    record(path, {"/a": "<p>\n{\n}\n", "/b": b"\0binary", "/c": ConnectError("no")}, *(f"{HOME}{x}" for x in "abc"))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    ends = [at + 2 for at in range(len(whole)) if whole[at - 1 : at + 2] == b"\n}\n"]
    assert len(ends) == 3
    cut = path.with_name("cut")
    for length in range(first, len(whole) + 1):
        cut.write_bytes(whole[:length])
        found = scan(cut)
        assert len(found.exchanges) == sum(end <= length for end in ends)
    # What comes after it is added in its place.
    cut.write_bytes(whole[: ends[1] - 5])
    new = replaying(cut, mode="new", fetch=FakeFetch({"/b": "B", "/c": "C"}))
    assert bodies(exchange(new, f"{HOME}a", f"{HOME}b", f"{HOME}c")) == ["<p>\n{\n}\n", "B", "C"]
    assert bodies(exchange(replaying(cut), f"{HOME}b", f"{HOME}c")) == ["B", "C"]


def test_an_exchange_is_in_the_file_as_soon_as_it_is_over(path: Path) -> None:
    seen: list[int] = []

    def look(request: Request) -> str:
        seen.append(len(scan(path).exchanges))
        return "ok"

    record(path, {"/": look}, HOME, HOME, HOME)
    assert seen == [0, 1, 2]


def test_an_old_cassette_stays_until_the_new_one_is_there(path: Path) -> None:
    record(path, {"/": "old"}, HOME)
    kept: list[str] = []

    async def fetch(request: Request) -> Response:
        kept.append(path.read_text())
        assert part_of(path).exists()
        return Response(request.url, body=b"new")

    record(path, fetch, HOME)
    assert '"old"' in kept[0]
    assert bodies(exchange(replaying(path), HOME)) == ["new"]
    assert list(path.parent.iterdir()) == [path]


def test_a_run_without_any_exchange_spoils_nothing(path: Path) -> None:
    record(path, {"/": "old"}, HOME)
    record(path, echoing)
    assert bodies(exchange(replaying(path), HOME)) == ["old"]
    assert list(path.parent.iterdir()) == [path]


def test_a_run_that_was_cut_short_leaves_the_old_one(path: Path) -> None:
    record(path, {"/": "old"}, HOME)
    told: list[str] = []
    web = Web(pages=50, seed=1)

    async def main() -> None:
        crawl = Crawl(web.start, scope="any", concurrency=1).pipe(
            ops.download(Spy().layer, fetch=recording(path, fetch=web.fetch(latency=1.0))),
            ops.scrape(Response.follow_all),
        )
        run = crawl.start()
        run.events.on(Notice, lambda notice: told.append(notice.text))
        asyncio.get_running_loop().call_later(5.5, lambda: run.stop(now=True))
        await run

    run_virtual(main)
    assert bodies(exchange(replaying(path), HOME)) == ["old"]
    assert len(scan(part_of(path)).exchanges) == 5
    assert told == [f"{path} stays as it was: the run was cut short, and what it recorded is in {part_of(path)}"]


def test_two_runs_do_not_write_one_cassette(path: Path) -> None:
    record(path, {"/": "old"}, HOME)
    first = Writer.new(path, Rules(), 0.0)
    with pytest.raises(CassetteError, match="another run is recording it"):
        Writer.new(path, Rules(), 0.0)
    first.write(KeptRequest("GET", HOME), KeptResponse(200), b"new")
    first.close()
    assert bodies(exchange(replaying(path), HOME)) == ["new"]


def test_folders_are_made(tmp_path: Path) -> None:
    record(tmp_path / "a" / "b" / "c", echoing, HOME)
    assert len(scan(tmp_path / "a" / "b" / "c").exchanges) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no cassette there: No such file or directory"),
        ("", "no cassette: it does not begin with one's first line"),
        ("<html>\n", "no cassette: it does not begin with one's first line"),
        ('{"cassette": 2}\n', "a cassette of version 2; this streamcrawl reads 1"),
        ('{"cassette": 1}\n{"response": {}}\n', "line 2: not the request of an exchange"),
        ('{"cassette": 1}\n{"request": {"method": "GET"},\n}\n', "line 2: not the request of an exchange"),
    ],
)
def test_what_is_no_cassette(path: Path, text: str | None, says: str) -> None:
    if text is not None:
        path.write_text(text)
    with pytest.raises(CassetteError, match=says) as raised:
        exchange(replaying(path), HOME)
    assert str(path) in str(raised.value)


def test_an_exchange_spoiled_by_hand_is_a_failure_that_says_where(path: Path) -> None:
    record(path, {"/": "ok"}, HOME)
    path.write_text(path.read_text().replace('"status": 200', '"status": "fine"'))
    error = failure(exchange(replaying(path), HOME))
    assert f"{path}, byte " in str(error)


def test_line_ends_of_another_system_do_no_harm(path: Path) -> None:
    record(path, {"/": "one\ntwo\n", "/x": b"\0\1"}, HOME, f"{HOME}x")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert bodies(exchange(replaying(path), HOME)) == ["one\ntwo\n"]


def test_a_file_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CassetteError, match="cannot be written"):
        record(tmp_path / "file" / "x", echoing, HOME)


def test_a_hint_at_what_was_recorded_when_it_was_killed(path: Path) -> None:
    part_of(path).write_text("")
    with pytest.raises(CassetteError, match=r"what was recorded of a new one is in .*\.part"):
        scan(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: recording("f", match="accept"), "match='accept': several names"),
        (lambda: recording("f", redact=("a b",)), "redact='a b': the name of a header field"),
        (lambda: recording("f", redact=("?",)), r"redact='\?'"),
        (lambda: recording("f", match=("?a",)), r"match='\?a'"),
        (lambda: recording("f", scrub="x"), "scrub='x': a function"),  # type: ignore[arg-type]
        (lambda: replaying("f", latency=-1), "latency=-1: seconds"),
        (lambda: replaying("f", latency="real"), "latency='real': seconds"),  # type: ignore[arg-type]
        (lambda: replaying("f", mode="all"), "mode='all': 'none' or 'new'"),  # type: ignore[arg-type]
    ],
)
def test_arguments_are_checked_when_it_is_built(make: Callable[[], Recording | Replaying], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        make()


def test_with_fetch_keeps_the_layers_and_what_was_below_them(path: Path) -> None:
    fetch = FakeFetch({"/": "ok"})
    layers = ops.default_layers(robots_txt=None)
    crawl = Crawl(HOME).pipe(ops.download(*layers, fetch=fetch), ops.scrape(urls))
    made = with_fetch(crawl, recording(path))
    assert made.pipes.download is not None
    assert made.pipes.download.layers == layers
    assert made.pipes.download.fetch == recording(path, fetch=fetch)
    assert crawl.pipes.download is not None
    assert crawl.pipes.download.fetch is fetch
    with pytest.raises(errors.FlowError, match=r"no download\(\)"):
        with_fetch(Crawl(HOME), fetch)


# -- jobs -------------------------------------------------------------------------------------------------------------


def pages(n: int) -> dict[str, Any]:
    site: dict[str, Any] = {"/": page(links=[f"/{each}" for each in range(n)])}
    return site | {f"/{each}": [page(status=503), f"<h1>{each}</h1>"] for each in range(n)}


def in_parts(crawl: Crawl[Any], job: Path, limit: int) -> tuple[Counter[str], int]:
    """Run a job to its end, stopped after so many pages each time: its items, and in how many runs."""
    items: Counter[str] = Counter()

    async def part() -> Any:
        run = crawl.replace(job=job, limit_pages=limit).start(lambda item: items.update([item["url"]]))
        return await run

    runs = 0
    while (summary := run_virtual(part())).reason != "finished":
        assert summary.error is None
        runs += 1
    return items, runs


def test_a_job_that_goes_on_adds_to_its_cassette(tmp_path: Path) -> None:
    path = tmp_path / "f"
    record(path, {"/": "of another crawl"}, HOME)
    crawl = Crawl(HOME).pipe(ops.download(fetch=FakeFetch(pages(12))), ops.scrape(urls))
    items, runs = in_parts(with_fetch(crawl, recording(path)), tmp_path / "job", 3)
    assert runs > 2
    assert len(items) == 13
    again = run_virtual(with_fetch(crawl, replaying(path)).collect())
    assert Counter(item["url"] for item in again) == items


def test_a_job_is_replayed_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "f"
    crawl = Crawl(HOME, seed=1).pipe(ops.download(fetch=FakeFetch(pages(12))), ops.scrape(urls))
    whole = run_virtual(with_fetch(crawl, recording(path)).collect())
    items, runs = in_parts(with_fetch(crawl, replaying(path)), tmp_path / "job", 3)
    assert runs > 2
    assert items == Counter(item["url"] for item in whole)


def test_several_answers_go_on_where_the_job_was(tmp_path: Path) -> None:
    path = tmp_path / "f"
    record(path, {"/": [page(status=503)] * 3 + [page(links=["/x"])], "/x": "x"}, *[HOME] * 4, f"{HOME}x")
    layers = (ops.retry(times=3), Spy().layer)
    crawl = Crawl(HOME).pipe(ops.download(*layers, fetch=replaying(path)), ops.scrape(urls))

    async def part(pause: float) -> Any:
        run = crawl.replace(job=tmp_path / "job").start()
        asyncio.get_running_loop().call_later(pause, run.stop)
        return await run

    summaries = [run_virtual(part(pause), start=2e9 + n) for n, pause in enumerate((0.1, 2.0, 50.0, 50.0))]
    assert sum(each.pages for each in summaries) == 2
    assert sum(each.failed for each in summaries) == 0


def test_rules_are_the_files_own_when_it_is_replayed(path: Path) -> None:
    record(path, echoing, in_language("de"), in_language("fr"), match=("accept-language",), redact=())
    assert scan(path).header == Header(1, scan(path).header.id, "2030-01-01T00:00:00Z", ("accept-language",), ())
    assert bodies(exchange(replaying(path, redact=SECRETS), in_language("fr"))) == ["GET fr  0"]


def test_a_stage_used_alone_is_recorded_too(path: Path) -> None:
    fetch: Fetch = FakeFetch({"/": "ok"})
    (first,) = piped(ops.download(Spy().layer, fetch=recording(path, fetch=fetch)), to=[HOME])
    (again,) = piped(ops.download(Spy().layer, fetch=replaying(path)), to=[HOME])
    assert (first.text, again.text) == ("ok", "ok")


def test_a_protocol_error_on_a_real_wire(path: Path) -> None:
    with serve({"/": Answer("x", headers={"Content-Length": "100"})}) as site:
        crawl = Crawl(f"{site.url}/").pipe(ops.download(Spy().layer), ops.scrape(urls))
        asyncio.run(with_fetch(crawl, recording(path)).collect())
        error = failure(exchange(replaying(path), f"{site.url}/"))
    assert isinstance(error, ProtocolError)
