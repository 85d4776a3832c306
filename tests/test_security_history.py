"""What has gone wrong in crawlers, and must not happen here: a test for each advisory, named after what it prevents.

Every one is a whole crawl, through all of `default_layers()`, against real servers on this machine. They have the names
and the addresses that the test gives them (`internet`), so that "another domain" and "a private address" are just that.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import sqlite3
import ssl
import struct
import sys
import time
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from bombs import BOMBS
from internet import Internet, Names, on_internet
from proxy_servers import Proxy, proxying

from streamcrawl import Crawl, Failed, Headers, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.caching import CacheStore, MemoryStore, Replay, dbm_store, fs_store, sqlite_store
from streamcrawl.errors import FetchError, JobError
from streamcrawl.events import Notice
from streamcrawl.testing import site
from streamcrawl.testing.site import Answer, Arrival, Reply
from streamcrawl.transport import Wire

SHOP, OTHER = "shop.example", "other.example"
ADDRESSES = {SHOP: "93.184.216.34", OTHER: "8.8.8.8", "www.shop.example": "93.184.216.34", "intranet.corp": "10.1.2.3"}
SECRET = "the secret"
MIB = 1024 * 1024
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD")

# ---- the servers, and a crawl of them --------------------------------------------------------------------------------


class Web:
    """What answers at one port of this machine, whatever the host's name; and who came."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.port = 0
        self.pages: dict[str, Reply | Callable[[Arrival], Reply]] = {}
        """By host and path, such as "shop.example/"."""
        self.arrivals: list[Arrival] = []

    def __call__(self, arrival: Arrival) -> Reply:
        self.arrivals.append(arrival)
        page = self.pages.get(self.place(arrival), Answer("none", 404))
        return page(arrival) if callable(page) else page

    @staticmethod
    def place(arrival: Arrival) -> str:
        return arrival.headers["host"].rpartition(":")[0] + arrival.path

    def url(self, place: str) -> str:
        host, slash, path = place.partition("/")
        return f"{self.scheme}://{host}:{self.port}{slash}{path}"

    def asked(self, host: str) -> list[str]:
        """The paths of a host that were asked for, robots.txt apart."""
        places = [self.place(each) for each in self.arrivals if not each.path.startswith("/robots.txt")]
        return [place.removeprefix(host) for place in places if place.startswith(f"{host}/")]

    def fields(self, host: str, name: str) -> list[str]:
        """What the requests for a host had in a header field, those for robots.txt included."""
        came = [each for each in self.arrivals if self.place(each).startswith(f"{host}/")]
        return [each.headers[name] for each in came if name in each.headers]


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Generator[Web]:
    web = Web("https" if tls else "http")
    with site.serve(web, tls=tls) as server:
        web.port = int(server.url.rpartition(":")[2])
        yield web


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as made:
        yield made


@pytest.fixture
def other_port() -> Iterator[Web]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Web]:
    """The same names, over https."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*ADDRESSES).configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL's
    with serving(context) as made:
        yield made


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL's
    return context


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch.setenv


def moved(target: str, status: int = 302, *fields: tuple[str, str]) -> Answer:
    return Answer("moved", status, headers=[("Location", target), *fields])


def linked(*targets: str) -> str:
    return "".join(f'<a href="{target}">x</a>' for target in targets)


def basic(userinfo: str) -> str:
    return "Basic " + b64encode(userinfo.encode()).decode()


def failed(failure: Any) -> dict[str, str]:
    reason = type(failure.error).__name__ if isinstance(failure, Failed) else failure.reason
    return {"url": failure.request.url, "failed": reason}


async def follow(page: Response) -> AsyncIterator[Any]:
    yield {"url": page.url, "text": page.text}
    for link in page.follow_all(css="a"):
        yield link


def resolver() -> Names:
    return Names(localhost=["127.0.0.1"], **{name.replace(".", "_"): [ADDRESSES[name]] for name in ADDRESSES})


async def crawled(
    *start: str | Request,
    callback: Callable[[Response], Any] = follow,
    sinks: tuple[Any, ...] = (),
    scraping: tuple[Any, ...] = (),
    layers: dict[str, Any] | None = None,
    wire: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Summary, list[Any]]:
    """A crawl that may go anywhere, with the default layers. `layers` and `wire` say what differs."""
    told: dict[str, Any] = {"resolver": resolver, **(wire or {})}
    options = {"scope": "any", **options}
    flow: Any = Crawl(list(start), **options).pipe(
        ops.download(*ops.default_layers(**(layers or {})), fetch=Wire(**told)),
        ops.scrape(callback, *scraping, errback=failed),
        *sinks,
    )
    items: list[Any] = []
    run = flow.start(on_item=items.append)
    summary = await run
    assert summary.balanced
    assert run.hosts.used == 0
    return summary, items


def ends(items: list[Any]) -> list[str]:
    """What became of the pages: the text of one that came, or why it did not."""
    return [item.get("failed") or item["text"] for item in items]


class Taken:
    """Bytes of memory that the block took at most."""

    most = 0

    def __enter__(self) -> Taken:
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


audited: list[set[str]] = []
"""While there is a set, the audit events of these names are noted in `noted`."""
noted: list[tuple[str, Any]] = []


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if audited and event in audited[0]:
        noted.append((event, arguments))


@pytest.fixture(scope="module")
def audit_hook() -> None:
    sys.addaudithook(note)  # for good: it cannot be taken away


@contextmanager
def auditing(*events: str) -> Generator[list[tuple[str, Any]]]:
    noted.clear()
    audited.append(set(events))
    try:
        yield noted
    finally:
        audited.clear()


# ---- cookies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_cookies_kept_on_a_redirect_to_another_domain(web: Web, status: int) -> None:
    """GHSA-cjvr-mfj7-j4j8 (CVE-2022-0577)."""

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/"] = moved(web.url(f"{OTHER}/"), status, ("Set-Cookie", "theirs=1"))
        web.pages[f"{OTHER}/"] = moved(web.url(f"{SHOP}/back"))
        web.pages[f"{SHOP}/back"] = "back"
        start = Request(web.url(f"{SHOP}/"), headers=Headers({"Cookie": "own=1"}), cookies={"given": "1"})
        _, items = await crawled(start)
        assert ends(items) == ["back"]
        assert web.asked(OTHER) == ["/"]
        assert web.fields(OTHER, "cookie") == []
        assert web.fields(SHOP, "cookie") == ["own=1; given=1", "given=1; theirs=1"]

    on_internet(main)


def test_cookies_kept_on_a_redirect_from_https_to_http(web: Web, secure: Web, trusting: ssl.SSLContext) -> None:
    """GHSA-cjvr-mfj7-j4j8, by the scheme."""

    async def main(net: Internet) -> None:
        secure.pages[f"{SHOP}/"] = moved(web.url(f"{SHOP}/"), 302, ("Set-Cookie", "theirs=1; Secure"))
        web.pages[f"{SHOP}/"] = "plain"
        start = Request(secure.url(f"{SHOP}/"), headers=Headers({"Cookie": "own=1"}), cookies={"given": "1"})
        _, items = await crawled(start, wire={"verify": trusting})
        assert ends(items) == ["plain"]
        assert secure.fields(SHOP, "cookie") == ["own=1; given=1"]
        assert web.fields(SHOP, "cookie") == []

    on_internet(main)


@pytest.mark.parametrize("suffix", ["co.uk", "github.io"])
def test_cookies_for_a_public_suffix(web: Web, suffix: str) -> None:
    """GHSA-mfjm-vh54-3f96: set for a whole suffix, they would go to all the sites under it."""
    mine, theirs = f"mine.{suffix}", f"theirs.{suffix}"

    async def main(net: Internet) -> None:
        lines = [f"wide=1; Domain={suffix}", f"dotted=1; Domain=.{suffix}", f"narrow=1; Domain={mine}"]
        web.pages[f"{mine}/"] = Answer(
            linked("/again", web.url(f"{theirs}/")), headers=[("Set-Cookie", line) for line in lines]
        )
        web.pages[f"{mine}/again"] = web.pages[f"{theirs}/"] = "page"

        def names() -> Names:
            return Names(**{name.replace(".", "_"): ["8.8.8.8"] for name in (mine, theirs)})

        given = Request(web.url(f"{mine}/given"), cookies=[{"name": "given", "value": "1", "domain": suffix}])
        _, items = await crawled(given, web.url(f"{mine}/"), wire={"resolver": names}, concurrency=1)
        assert web.asked(theirs) == ["/"]
        assert web.fields(theirs, "cookie") == []
        assert web.fields(mine, "cookie") == ["narrow=1"]
        assert ends(items)[0] == "OperatorError", "a cookie of the user's own is told, not dropped in silence"

    on_internet(main)


# ---- credentials -----------------------------------------------------------------------------------------------------


def told(proxy: Proxy) -> set[tuple[str, ...]]:
    """The credentials that a proxy got."""
    return {tuple(each.all("proxy-authorization")) for each in proxy.asked}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_credentials_of_a_proxy_sent_to_another_proxy(
    web: Web, secure: Web, trusting: ssl.SSLContext, scheme: str
) -> None:
    """GHSA-9x8m-2xpf-crp3 (Scrapy 2.6.2)."""
    servers = web if scheme == "http" else secure

    async def main(net: Internet) -> None:
        servers.pages[f"{SHOP}/"] = linked("/next")
        servers.pages[f"{SHOP}/next"] = moved("/end")
        servers.pages[f"{SHOP}/end"] = "end"
        async with proxying() as one, proxying() as two, proxying() as bare:
            one.names[SHOP] = two.names[SHOP] = bare.names[SHOP] = servers.port
            one.credentials = "none is right"  # it fails, so that what was sent through it goes through the others
            layers = {
                "proxy": ops.proxy([one.url("u1:p1"), two.url("u2:p2"), bare.url()]),
                "retry": ops.retry(wait=lambda repeat, random: 0.0),
            }
            _, items = await crawled(servers.url(f"{SHOP}/"), layers=layers, wire={"verify": trusting})
            assert ends(items)[1:] == ["end"]
            assert told(one) == {(basic("u1:p1"),)}
            assert told(two) == {(basic("u2:p2"),)}
            assert told(bare) == {()}
        assert servers.fields(SHOP, "proxy-authorization") == []

    on_internet(main)


def test_credentials_of_a_proxy_sent_to_the_server(
    web: Web, secure: Web, trusting: ssl.SSLContext, environment: Callable[[str, str], None]
) -> None:
    """The same, when there is no proxy any more, or a tunnel through one: what is the proxy's is not the server's."""

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/"] = moved(secure.url(f"{SHOP}/"))
        secure.pages[f"{SHOP}/"] = moved(web.url(f"{OTHER}/"))
        web.pages[f"{OTHER}/"] = "end"
        async with proxying() as proxy:
            proxy.names[SHOP] = secure.port
            environment("https_proxy", proxy.url("u:p"))
            start = Request(web.url(f"{SHOP}/"), headers=Headers({"Proxy-Authorization": basic("mine:own")}))
            _, items = await crawled(start, wire={"verify": trusting})
            assert ends(items) == ["end"]
            assert told(proxy) == {(basic("u:p"),)}
        for servers in web, secure:
            assert servers.fields(SHOP, "proxy-authorization") == servers.fields(OTHER, "proxy-authorization") == []

    on_internet(main)


def test_a_proxy_and_its_credentials_kept_on_a_redirect_to_another_scheme(
    web: Web, secure: Web, trusting: ssl.SSLContext, environment: Callable[[str, str], None]
) -> None:
    """GHSA-jm3v-qxmh-hxwv: the proxy of http serves https no longer than there is none of its own."""

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/"] = moved(secure.url(f"{SHOP}/"))
        secure.pages[f"{SHOP}/"] = linked(web.url(f"{SHOP}/end"))
        web.pages[f"{SHOP}/end"] = "end"
        for for_https in ("", "https-user:two"):
            async with proxying() as one, proxying() as two:
                one.names[SHOP], two.names[SHOP] = web.port, secure.port
                environment("http_proxy", one.url("http-user:one"))
                environment("https_proxy", two.url(for_https) if for_https else "")
                _, items = await crawled(web.url(f"{SHOP}/"), wire={"verify": trusting})
                assert ends(items)[1:] == ["end"]
                assert told(one) == {(basic("http-user:one"),)}
                assert not any(each.line.startswith("CONNECT") for each in one.asked)
                assert told(two) == ({(basic(for_https),)} if for_https else set())
        assert web.fields(SHOP, "proxy-authorization") == secure.fields(SHOP, "proxy-authorization") == []

    on_internet(main)


def test_http_auth_sent_to_every_domain(web: Web) -> None:
    """GHSA-jwqp-28gf-p498 (CVE-2021-41125)."""

    async def main(net: Internet) -> None:
        landed = [web.url(f"{OTHER}/{way}") for way in ("link", "hop", "refresh")]
        web.pages[f"{SHOP}/"] = linked(landed[0], "/hop", "/refresh", web.url("www.shop.example/"))
        web.pages[f"{SHOP}/hop"] = moved(landed[1])
        web.pages[f"{SHOP}/refresh"] = f'<meta http-equiv="refresh" content="0;url={landed[2]}">'
        layers = {"http_auth": ops.http_auth("user", "password", domain=SHOP, insecure=True)}
        await crawled(web.url(f"{SHOP}/"), layers=layers)
        assert sorted(web.asked(OTHER)) == ["/hop", "/link", "/refresh"]
        assert web.fields(OTHER, "authorization") == []
        assert set(web.fields(SHOP, "authorization")) == {basic("user:password")}
        assert set(web.fields("www.shop.example", "authorization")) == {basic("user:password")}

    on_internet(main)
    with pytest.raises(ValueError, match="say whom they are for"):
        ops.http_auth("user", "password")


@pytest.mark.parametrize("how", ["header field", "URL", "http_auth"])
@pytest.mark.parametrize("status", [301, 307])
def test_authorization_kept_on_a_redirect_to_another_domain(web: Web, how: str, status: int) -> None:
    """GHSA-cw9j-q3vf-hrrv (CVE-2024-3574)."""

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/"] = moved(web.url(f"{OTHER}/"), status)
        web.pages[f"{OTHER}/"] = "end"
        assert ends((await crawled(*logged_in(web.url(f"{SHOP}/"), how), layers=auth(how)))[1]) == ["end"]
        assert basic("user:password") in web.fields(SHOP, "authorization")
        assert web.fields(OTHER, "authorization") == []

    on_internet(main)


@pytest.mark.parametrize("how", ["header field", "URL"])
@pytest.mark.parametrize("change", ["http to https", "https to http", "port"])
def test_authorization_kept_on_a_redirect_to_another_scheme_or_port(
    web: Web, other_port: Web, secure: Web, trusting: ssl.SSLContext, how: str, change: str
) -> None:
    """GHSA-4qqq-9vqf-3h3f (CVE-2024-1968)."""
    first, second = {
        "http to https": (web, secure),
        "https to http": (secure, web),
        "port": (web, other_port),
    }[change]

    async def main(net: Internet) -> None:
        first.pages[f"{SHOP}/"] = moved(second.url(f"{SHOP}/"))
        second.pages[f"{SHOP}/"] = "end"
        _, items = await crawled(*logged_in(first.url(f"{SHOP}/"), how), wire={"verify": trusting})
        assert ends(items) == ["end"]
        assert first.fields(SHOP, "authorization") == [basic("user:password")]
        assert second.fields(SHOP, "authorization") == []

    on_internet(main)


def logged_in(url: str, how: str) -> list[Request]:
    if how == "header field":
        return [Request(url, headers=Headers({"Authorization": basic("user:password")}))]
    return [Request(url.replace("://", "://user:password@") if how == "URL" else url)]


def auth(how: str) -> dict[str, Any]:
    if how != "http_auth":
        return {}
    return {"http_auth": ops.http_auth("user", "password", domain=SHOP, insecure=True)}


def test_a_password_in_what_is_told(web: Web) -> None:
    """Scrapy writes the URL of every request into its log, credentials included."""

    async def main(net: Internet) -> None:
        paths: dict[str, Reply] = {
            "/": linked("/missing", "/round", "/odd", "/down", "/late", web.url("user:password@other.example/")),
            "/missing": 404,
            "/round": moved("/round?"),
            "/odd": moved("http://[half/an/address"),
            "/down": 503,
            "/late": Answer("", 429, headers={"Retry-After": "99999"}),
        }
        for path, page in paths.items():
            web.pages[SHOP + path] = page
        errors: list[str] = []

        def told(failure: Any) -> None:
            errors.append(f"{failure.error}" if isinstance(failure, Failed) else failure.reason)

        notices: list[str] = []
        layers = {
            "retry": ops.retry(times=1, wait=lambda repeat, random: 0.0),
            "redirect": ops.redirect(times=2),
            "scope": ops.scope(SHOP),
            "size_limit": ops.size_limit(warn=1),
        }
        flow: Any = Crawl(web.url(f"user:password@{SHOP}/"), scope="any").pipe(
            ops.download(*ops.default_layers(**layers), fetch=Wire(resolver=resolver)),
            ops.scrape(follow, errback=told),
        )

        def noticed(event: Notice) -> None:
            notices.append(event.text)

        run = flow.start()
        run.events.on(Notice, noticed)
        await run
        assert basic("user:password") in web.fields(SHOP, "authorization")
        assert len(errors) == 6
        assert len(notices) >= 4
        assert [text for text in (*errors, *notices) if "password" in text] == []

    on_internet(main)


# ---- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["redirect", "meta element", "header field", "link", "robots.txt", "picture"])
@pytest.mark.parametrize("kind", ["file", "s3", "data", "ftp", "javascript"])
def test_a_page_of_the_web_that_leads_to_a_local_file_or_store(web: Web, tmp_path: Path, way: str, kind: str) -> None:
    """GHSA-23j4-mw76-5v7h: a redirect to file:, s3: or data:."""
    secret = tmp_path / "secret"
    secret.write_bytes(picture(9, 9) if way == "picture" else f"User-agent: *\nDisallow: /\n# {SECRET}\n".encode())
    target = {
        "file": secret.as_uri(),
        "s3": "s3://bucket/secret",
        "data": "data:text/plain,User-agent:%20*%0ADisallow:%20/",
        "ftp": "ftp://127.0.0.1:1/secret",
        "javascript": "javascript:'secret'",
    }[kind]
    page: dict[str, Reply] = {
        "redirect": moved(target),
        "meta element": f'<meta http-equiv="refresh" content="0;url={target}">',
        "header field": Answer("page", headers={"Refresh": f"0;url={target}"}),
        "link": linked(target),
    }

    async def parse(response: Response) -> AsyncIterator[Any]:
        yield {"url": response.url, "text": response.text, "image_urls": [target] if way == "picture" else []}
        for link in response.follow_all(css="a"):
            yield link

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/"] = page.get(way, "page")
        if way == "robots.txt":
            web.pages[f"{SHOP}/robots.txt"] = moved(target)
        pictures = ops.images(str(tmp_path / "pictures"))
        _, items = await crawled(web.url(f"{SHOP}/"), callback=parse, sinks=(pictures,))
        # A target that counted as this host's robots.txt would have forbidden the page.
        wanted = ["HttpError"] if way == "redirect" else ["page"]
        if (way, kind) == ("link", "ftp"):
            wanted.append("UnsupportedScheme")  # a link may lead there, if somebody brings a transport
        assert [item.get("failed", "page") for item in items] == wanted
        assert SECRET not in str(items)
        if way == "picture":
            assert [report["status"] for report in items[0]["images"]] == ["failed"]
        assert set(net.asked) == {ADDRESSES[SHOP]}

    on_internet(main)


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("to", [SHOP, OTHER])
def test_a_posted_body_kept_on_a_redirect(web: Web, status: int, to: str) -> None:
    """Scrapy 2.14.2: on a 301 the body of a POST went on to wherever it led."""

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/form"] = moved(web.url(f"{to}/end"), status)
        web.pages[f"{to}/end"] = "end"
        form = Headers({"Content-Type": "text/plain", "Content-Language": "en", "X-Mine": "1"})
        start = Request(web.url(f"{SHOP}/form"), method="POST", body=b"card=4111", headers=form)
        assert ends((await crawled(start))[1]) == ["end"]
        sent, hop = (each for each in web.arrivals if each.path in ("/form", "/end"))
        assert (sent.method, sent.body) == ("POST", b"card=4111")
        assert (hop.method, hop.body, hop.headers.get("x-mine")) == ("GET", b"", "1")
        assert not [name for name in hop.headers if name.startswith("content-")]

    on_internet(main)


def test_a_posted_body_sent_on_in_the_clear(web: Web, secure: Web, trusting: ssl.SSLContext) -> None:
    """Where the method stays (307, 308), so does the body, but not from https to http."""

    async def main(net: Internet) -> None:
        secure.pages[f"{SHOP}/"] = moved(web.url(f"{SHOP}/"), 307)
        start = Request(secure.url(f"{SHOP}/"), method="POST", body=b"card=4111")
        _, items = await crawled(start, wire={"verify": trusting})
        assert ends(items) == ["HttpError"]
        assert web.arrivals == []

    on_internet(main)


def test_a_referrer_policy_that_names_something_to_import(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GHSA-cwxj-rr6w-m6w7: what a server says there was imported, and called."""
    (tmp_path / "policy_of_a_server.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    async def main(net: Internet) -> None:
        policy = ("Referrer-Policy", "policy_of_a_server.Policy")
        web.pages[f"{SHOP}/"] = Answer(linked("/hop"), headers=[policy])
        web.pages[f"{SHOP}/hop"] = moved(web.url(f"{OTHER}/end?q=1"), 302, policy)
        web.pages[f"{OTHER}/end"] = Answer(linked(web.url(f"{SHOP}/last")), headers=[policy])
        web.pages[f"{SHOP}/last"] = "last"
        summary, items = await crawled(web.url(f"{SHOP}/"), scraping=(ops.referer(),))
        assert ends(items)[-1] == "last"
        assert summary.ok
        # As if nothing had been said: the whole URL to the same origin, and only the origin to others.
        assert web.fields(SHOP, "referer") == [web.url(f"{SHOP}/"), web.url(f"{OTHER}/")]
        assert set(web.fields(OTHER, "referer")) == {web.url(f"{SHOP}/")}
        assert "policy_of_a_server" not in sys.modules

    on_internet(main)


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb(web: Web, name: str) -> None:
    """GHSA-7j7m-v7m3-jqm7 (CVE-2024-3572); GHSA-2qfp-q593-8484 (CVE-2025-6176) for br and deflate."""
    coding, make = BOMBS[name]
    bomb = Answer(make(), headers={"Content-Encoding": coding, "Content-Type": "text/html"})

    async def read(page: Response) -> AsyncIterator[Any]:
        size = 0
        try:
            if page.stream is not None:
                async for chunk in page.stream:
                    size += len(chunk)
            yield {"text": f"{size + page.size} bytes"}
        except FetchError as error:
            assert size <= 64 * MIB
            yield {"text": type(error).__name__}

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/whole"] = web.pages[f"{SHOP}/streamed"] = bomb
        for path, most in ("whole", 100), ("streamed", 16):
            with Taken() as taken:
                _, items = await crawled(Request(web.url(f"{SHOP}/{path}"), stream=path == "streamed"), callback=read)
            assert ends(items) == ["BodyTooLarge"]
            assert 0 < taken.most < most * MIB, "of the gibibyte"

    on_internet(main)


def test_a_body_without_an_end(web: Web) -> None:
    """Nobody has said how large a page may be: 64 MiB are enough, and not a GiB as in Scrapy."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += MIB
            yield bytes(MIB)

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/endless"] = Answer(chunks=endless())
        web.pages[f"{SHOP}/announced"] = Answer("x", headers={"Content-Length": str(65 * MIB)})
        _, items = await crawled(web.url(f"{SHOP}/endless"), web.url(f"{SHOP}/announced"))
        assert ends(items) == ["BodyTooLarge"] * 2
        assert 64 * MIB < sent < 80 * MIB

    on_internet(main)


def test_large_files_that_are_in_memory_at_once(web: Web) -> None:
    """CVE-2017-14158: as many as there are, each within its limit, fill the memory all the same."""
    files, size = 40, 4 * MIB

    async def main(net: Internet) -> None:
        for number in range(files):
            web.pages[f"{SHOP}/{number}"] = Answer(
                chunks=(bytes(128 * 1024) for _ in range(size // 131_072)),
                headers={"Content-Type": "text/html"},
                pause=0.005,  # so that they come side by side
            )

        async def look(page: Response) -> AsyncIterator[Any]:
            await asyncio.sleep(0.01)
            yield {"text": f"{page.size} bytes"}

        start = [web.url(f"{SHOP}/{number}") for number in range(files)]
        with Taken() as taken:
            _, items = await crawled(*start, callback=look, memory="32MB", concurrency=files, per_host=files)
        assert ends(items) == [f"{size} bytes"] * files
        assert MIB < taken.most < 96 * MIB < files * size

    on_internet(main)


FIELDS = {
    "Cache-Control": ("max-age=1", " ", '"'),
    "Set-Cookie": ("a=1;", " ;", "Expires="),
    "Refresh": ("1", " ", ";url"),
    "Vary": ("", "a,", ""),
    "Retry-After": ("", "1", "x"),
    "Referrer-Policy": ("", ", ", "x"),
    "Content-Type": ("text/html;", " charset=", '"'),
    "Content-Encoding": ("", "identity, ", ""),
    "ETag": ('W/"', '"', "W/"),
    "Expires": ("Sun, ", "06 ", "GMT"),
    "Location": ("", "/..", "#"),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("status", [200, 503])
def test_a_header_field_that_takes_minutes_to_read(web: Web, name: str, status: int) -> None:
    """Of the kind of GHSA-cc65-xxvf-f7r9: a pattern that looks at the same characters again and again."""
    first, again, last = FIELDS[name]
    value = first + again * (60_000 // len(again)) + last

    async def main(net: Internet) -> None:
        answer = Answer("<p>page</p>", status, headers={"Content-Type": "text/html", name: value})
        web.pages[f"{SHOP}/robots.txt"] = Answer("User-agent: *\nAllow: /\n", headers={name: value})
        web.pages[f"{SHOP}/"] = answer
        layers = {"http_cache": ops.http_cache(store=MemoryStore()), "retry": ops.retry(times=0)}
        began = time.process_time()
        _, items = await crawled(web.url(f"{SHOP}/"), layers=layers, scraping=(ops.referer(),))
        assert time.process_time() - began < 2.0
        assert len(items) == 1

    on_internet(main)


def picture(width: int, height: int) -> bytes:
    """A PNG that says that it is so large; what it holds is little."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * min(height, 1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_that_unfolds_to_gigapixels(web: Web, tmp_path: Path) -> None:
    """Not covered by Scrapy, beyond Pillow's own limit of some 179 million pixels."""
    sizes = {"small": (10, 10), "over ours": (9_000, 8_000), "over Pillow's": (50_000, 50_000)}

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/"] = "page"
        for name, (width, height) in sizes.items():
            web.pages[f"{SHOP}/{name[-3:]}"] = Answer(picture(width, height), headers={"Content-Type": "image/png"})

        async def parse(page: Response) -> AsyncIterator[Any]:
            yield {"image_urls": [web.url(f"{SHOP}/{name[-3:]}") for name in sizes]}

        sink = ops.images(str(tmp_path / "store"), thumbs={"small": (50, 50)})
        _, (item,) = await crawled(web.url(f"{SHOP}/"), callback=parse, sinks=(sink,))
        assert [report["status"] for report in item["images"]] == ["downloaded", "failed", "failed"]
        assert "72000000" in item["images"][1]["error"] or "9000x8000 pixels" in item["images"][1]["error"]
        assert len(list((tmp_path / "store").rglob("*.jpg"))) == 2, "of the small one: itself and its thumbnail"

    on_internet(main)


# ---- addresses -------------------------------------------------------------------------------------------------------

INSIDE = ["127.0.0.1", "localhost", "10.0.0.1", "intranet.corp", "169.254.169.254", "2130706433", "[::1]"]
"""Loopback, private, by name, the metadata of a cloud, and in other spellings."""


@pytest.mark.parametrize("way", ["link", "redirect", "meta element", "header field", "robots.txt", "picture"])
@pytest.mark.parametrize("host", INSIDE)
def test_a_private_address_that_a_page_of_the_web_leads_to(web: Web, tmp_path: Path, way: str, host: str) -> None:
    """SSRF; not covered by Scrapy. The last hop counts as well as the first."""

    async def parse(page: Response) -> AsyncIterator[Any]:
        yield {"text": page.text, "image_urls": [target] if way == "picture" else []}
        for link in page.follow_all(css="a"):
            yield link

    target = web.url(f"{host}/secret")

    async def main(net: Internet) -> None:
        web.pages[f"{host}/secret"] = web.pages["127.0.0.1/secret"] = SECRET
        page: dict[str, Reply] = {
            "link": linked(target),
            "redirect": moved(target),
            "meta element": f'<meta http-equiv="refresh" content="0;url={target}">',
            "header field": Answer("page", headers={"Refresh": f"0;url={target}"}),
        }
        web.pages[f"{SHOP}/"] = moved(web.url(f"{OTHER}/")) if way != "robots.txt" else "page"
        web.pages[f"{OTHER}/"] = page.get(way, "page")
        if way == "robots.txt":
            web.pages[f"{SHOP}/robots.txt"] = moved(target)
        sink = ops.images(str(tmp_path / "store"))
        _, items = await crawled(web.url(f"{SHOP}/"), callback=parse, sinks=(sink,))
        assert SECRET not in str(items)
        assert set(net.asked) <= {ADDRESSES[SHOP], ADDRESSES[OTHER]}
        # Without its rules nothing is asked of a host; the page with the picture is there.
        assert [item.get("failed") for item in items if "text" not in item] == ["AddressRefused"] * (way != "picture")

    on_internet(main)


def test_a_name_that_turns_to_a_private_address_after_it_was_checked(web: Web) -> None:
    """DNS rebinding; not covered by Scrapy. The address that was checked is the one that is connected to."""

    class Turning(Names):
        """Public when it is asked for the first time, private ever after."""

        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
            found = await super().resolve(host, port, family)
            self.names[host] = ("127.0.0.1",)
            return found

    async def main(net: Internet) -> None:
        # Every answer ends its connection, so that each request has to make one.
        web.pages[f"{SHOP}/"] = Answer(linked("/secret"), headers={"Connection": "close"})
        web.pages[f"{SHOP}/robots.txt"] = Answer("", 404, headers={"Connection": "close"})
        web.pages[f"{SHOP}/secret"] = "public"
        made = Turning(shop_example=[ADDRESSES[SHOP]])
        _, items = await crawled(web.url(f"{SHOP}/"), wire={"resolver": lambda: made})
        assert ends(items)[1:] == ["public"]
        assert len(net.asked) == 3
        assert set(net.asked) == {ADDRESSES[SHOP]}
        # The next run asks anew, and starts on what the name is by then.
        made.names["intranet.corp"] = ("10.1.2.3",)
        made.names[SHOP] = ("10.1.2.3", ADDRESSES[SHOP])
        net.asked.clear()
        await crawled(web.url(f"{SHOP}/"), wire={"resolver": lambda: made})
        assert set(net.asked) == {ADDRESSES[SHOP]}, "of several addresses only the public one is tried"

    on_internet(main)


@pytest.mark.parametrize("policy", [None, Replay()])
def test_a_page_of_a_private_network_out_of_the_cache(web: Web, tmp_path: Path, policy: Any) -> None:
    """What one crawl may reach and another may not is not lent from the one to the other by what they both store."""

    async def main(net: Internet) -> None:
        store = sqlite_store(str(tmp_path / "cache.sqlite"))
        layers = {"http_cache": ops.http_cache(store=store, policy=policy)}
        intranet, kept = [web.url(f"intranet.corp/{name}") for name in ("one", "two")], {"Cache-Control": "max-age=999"}
        web.pages["intranet.corp/one"] = web.pages["intranet.corp/two"] = Answer(SECRET, headers=kept)
        web.pages[f"{SHOP}/"] = linked(intranet[0], "/moved")
        web.pages[f"{SHOP}/moved"] = moved(intranet[1])
        await crawled(*intranet, layers=layers)
        again, items = await crawled(*intranet, layers=layers)
        assert again.stats["httpcache/hit"] >= 2
        assert ends(items) == [SECRET] * 2
        net.asked.clear()
        _, items = await crawled(web.url(f"{SHOP}/"), layers=layers)
        assert sorted(ends(items)[1:]) == ["AddressRefused"] * 2
        assert set(net.asked) == {ADDRESSES[SHOP]}
        # Nor does a stored page stand in for one that failed because its name is gone.
        wire = {"resolver": lambda: Names(shop_example=[ADDRESSES[SHOP]])}
        _, items = await crawled(web.url(f"{SHOP}/"), layers={**layers, "retry": None}, wire=wire)
        assert sorted(ends(items)[1:]) == ["ResolveError"] * 2

    on_internet(main)


# ---- what is trusted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["of nobody", "for another name"])
def test_a_certificate_that_is_not_verified(web: Web, secure: Web, trusting: ssl.SSLContext, what: str) -> None:
    """Not covered by Scrapy, which verifies nothing unless it is told to."""
    names = Names(shop_example=["93.184.216.34"], elsewhere_example=["8.8.8.8"])
    host, wire = (SHOP, {}) if what == "of nobody" else ("elsewhere.example", {"verify": trusting})

    async def main(net: Internet) -> None:
        secure.pages[f"{host}/"] = SECRET
        web.pages[f"{SHOP}/"] = moved(secure.url(f"{host}/"))
        _, items = await crawled(web.url(f"{SHOP}/"), wire={"resolver": lambda: names, **wire})
        assert ends(items) == ["TLSError"]
        assert secure.arrivals == []

    on_internet(main)


def test_a_signed_request_to_s3_in_the_clear(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """GHSA-76g3-c3x4-crvx: requests with credentials for S3 went out over plain http unless somebody said otherwise."""
    for name, value in ("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("MAX_ATTEMPTS", "1"):
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    ports: set[Any] = set()
    look_up: Any = socket.getaddrinfo

    def watching(host: Any, port: Any, *options: Any, **more: Any) -> Any:
        if "amazonaws" not in str(host):
            return look_up(host, port, *options, **more)
        ports.add(port)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", watching)

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/"] = "page"
        web.pages[f"{SHOP}/p.png"] = Answer(picture(2, 2), headers={"Content-Type": "image/png"})

        async def parse(page: Response) -> AsyncIterator[Any]:
            yield {"image_urls": [web.url(f"{SHOP}/p.png")]}

        assert ends((await crawled("s3://bucket/key"))[1]) == ["UnsupportedScheme"]
        assert ports == set()
        await crawled(web.url(f"{SHOP}/"), callback=parse, sinks=(ops.images("s3://bucket/pictures"),))
        assert ports == {443}

    on_internet(main)


@pytest.mark.parametrize("kind", ["sqlite", "dbm", "fs"])
def test_a_pickle_in_a_job_or_in_the_cache_that_is_loaded(
    web: Web, tmp_path: Path, kind: str, audit_hook: None
) -> None:
    """Not covered by Scrapy, whose jobs and caches are pickles: who can write them can run code."""
    marker = tmp_path / "loaded"
    cache = tmp_path / "cache"
    cache.mkdir()
    stores: dict[str, Callable[[], CacheStore]] = {
        "sqlite": lambda: sqlite_store(str(cache / "cache.sqlite")),
        "dbm": lambda: dbm_store(str(cache / "cache.dbm")),
        "fs": lambda: fs_store(str(cache / "files")),
    }

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    evil = pickle.dumps(Evil())

    async def main(net: Internet) -> None:
        for path, links in ("/", linked("/a", "/b")), ("/a", "a"), ("/b", "b"):
            web.pages[SHOP + path] = Answer(links, headers={"Cache-Control": "max-age=999", "Set-Cookie": "a=1"})
        job = tmp_path / "job"
        options: dict[str, Any] = {"job": str(job), "concurrency": 1}
        layers = {"http_cache": ops.http_cache(store=stores[kind]())}
        await crawled(web.url(f"{SHOP}/"), layers=layers, limit_pages=1, **options)
        planted = sum(plant(path, evil) for folder in (job, cache) for path in folder.rglob("*") if path.is_file())
        assert planted > 3
        with auditing("pickle.find_class") as loaded:
            for again in range(2):
                with suppress(JobError):
                    await crawled(web.url(f"{SHOP}/"), layers=layers, **(options if not again else {}))
        assert loaded == []

    on_internet(main)
    assert not marker.exists()
    pickle.loads(evil)
    assert marker.exists(), "it would have been noticed"


def plant(path: Path, evil: bytes) -> int:
    """Put the bytes in the place of everything that a file holds; of a database, of every value that is no key."""
    if not path.read_bytes().startswith(b"SQLite format 3"):
        path.write_bytes(evil)
        return 1
    count = 0
    with closing(sqlite3.connect(path)) as database, database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table.startswith("sqlite_"):
                continue
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                try:
                    found = database.execute(
                        f"UPDATE {table} SET {column} = ? WHERE typeof({column}) = 'blob'", (evil,)
                    )
                    count += found.rowcount
                except sqlite3.IntegrityError:
                    pass  # a key
    return count


def test_a_port_that_a_crawl_listens_at(web: Web, tmp_path: Path, audit_hook: None) -> None:
    """Scrapy opens a console that runs code for whoever connects to it, unless it is told not to."""

    async def main(net: Internet) -> None:
        web.pages[f"{SHOP}/"] = "page"
        layers = {"http_cache": ops.http_cache(store=sqlite_store(str(tmp_path / "cache.sqlite")))}
        with auditing("socket.bind") as bound:
            _, items = await crawled(web.url(f"{SHOP}/"), layers=layers, job=str(tmp_path / "job"))
        assert ends(items) == ["page"]
        assert bound == []

    on_internet(main)
