"""The servers on loopback that tests and the demo use."""

from __future__ import annotations

import asyncio
import gc
import gzip
import http.client
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import pytest
import trustme
from parsel import Selector
from PIL import Image

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.testing.site import Answer, Arrival, DemoSite, Routes, Site, serve


def connected(site: Site) -> closing[HTTPConnection]:
    return closing(HTTPConnection(urlsplit(site.url).netloc, timeout=10))


def get(site: Site, target: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    with connected(site) as connection:
        connection.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()


def test_routes_by_target_path_and_beginning() -> None:
    def call(arrival: Arrival) -> str:
        return f"{arrival.method} {arrival.target} {arrival.headers['x-told']}"

    routes: Routes = {
        "/": "<p>home</p>",
        "/data": b"\x00\x01",
        "/gone": 410,
        "/a?x=1": "exact",
        "/a": "path",
        "/a/*": "below a",
        "/a/b/*": "below b",
        "/call": call,
    }
    with serve(routes) as site:
        response, body = get(site, "/")
        assert (response.status, body, response.headers["Content-Type"]) == (
            200,
            b"<p>home</p>",
            "text/html; charset=utf-8",
        )
        assert get(site, "/data")[0].headers["Content-Type"] == "application/octet-stream"
        assert get(site, "/gone")[0].status == 410
        bodies = [get(site, target)[1] for target in ("/a?x=1", "/a?x=2", "/a/c", "/a/b/c")]
        assert bodies == [b"exact", b"path", b"below a", b"below b"]
        assert get(site, "/call?q=%20", x_told="yes")[1] == b"GET /call?q=%20 yes"
        assert get(site, "/nowhere")[0].status == 404


def test_a_log_of_what_arrived() -> None:
    with serve(lambda arrival: "ok") as site, connected(site) as connection:
        before = time.monotonic()
        for target in ("/a", "/a?page=2", "/b"):
            connection.request("POST", target, b"sent", {"X-Many": "1", "Cookie": "a=1; b=x=y"})
            connection.getresponse().read()
        assert [(each.target, each.path) for each in site.arrivals] == [("/a", "/a"), ("/a?page=2", "/a"), ("/b", "/b")]
        first = site.arrivals[0]
        assert (first.method, first.body, first.headers["x-many"]) == ("POST", b"sent", "1")
        assert first.cookies == {"a": "1", "b": "x=y"}
        assert (site.count("/a"), site.count("/a?page=2"), site.count("/c")) == (2, 1, 0)
        assert site.counts() == {"/a": 1, "/a?page=2": 1, "/b": 1}
        assert before <= site.times("/a")[0] <= site.times("/b")[0] <= time.monotonic()
        assert (site.connections, site.served, site.active, first.connection) == (1, 3, 0, 1)


def test_only_the_last_arrivals_are_kept() -> None:
    with serve({"*": "ok"}, keep=2) as site:
        for number in range(5):
            get(site, f"/{number}")
        assert [each.path for each in site.arrivals] == ["/3", "/4"]
        assert site.served == 5


def test_connections_are_kept_or_closed_as_asked() -> None:
    with serve({"*": "ok"}) as site:
        with connected(site) as connection:
            for _ in range(3):
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"ok"
        assert site.connections == 1
        for request in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
            assert exchange(site, request).endswith(b"ok")


def exchange(site: Site, request: bytes) -> bytes:
    """Everything that comes until the server closes."""
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow(arrival: Arrival) -> str:
        await asyncio.sleep(0.01)
        return "slow"

    with serve({"/slow": slow, "/fast": "fast", "/chunks": Answer(chunks=[b"ch", b"unks"])}) as site:
        targets = ("/slow", "/fast", "/chunks", "/fast")
        requests = b"".join(f"GET {target} HTTP/1.1\r\n\r\n".encode() for target in targets)
        got = exchange(site, requests + b"GET /fast HTTP/1.0\r\n\r\n")
    order = [got.index(word) for word in (b"slow", b"fast", b"ch\r\n", b"unks")]
    assert order == sorted(order)
    assert got.count(b"HTTP/1.1 200 OK") == 5


def test_head_and_statuses_without_body() -> None:
    with serve({"/": "body", "/none": 204, "/same": Answer("never sent", 304), "/own": Answer("x", 599)}) as site:
        with connected(site) as connection:
            for target, method, status, body in (
                ("/", "HEAD", 200, b""),
                ("/none", "GET", 204, b""),
                ("/same", "GET", 304, b""),
                ("/own", "GET", 599, b"x"),
            ):
                connection.request(method, target)
                response = connection.getresponse()
                assert (response.status, response.read()) == (status, body)
        assert site.connections == 1
        assert get(site, "/", "HEAD")[0].headers["Content-Length"] == "4"


def test_repeated_and_own_header_fields() -> None:
    answer = Answer("x", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Content-Type", "text/plain")])
    with serve({"/": answer}) as site:
        headers = get(site, "/")[0].headers
        assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
        assert headers.get_all("Content-Type") == ["text/plain"]


def test_delays_hold_up_nobody_else() -> None:
    with serve({"/late": Answer("late", delay=0.5), "/now": "now"}) as site:
        begun = time.monotonic()
        late = threading.Thread(target=get, args=(site, "/late"))
        late.start()
        while not site.active:
            pass
        assert get(site, "/now")[1] == b"now"
        between = time.monotonic()
        late.join()
        assert between - begun < 0.5 <= time.monotonic() - begun
        assert (site.peak, site.active) == (2, 0)


def test_bodies_that_end_too_early() -> None:
    routes = {
        "/short": Answer("abc", headers={"Content-Length": "10"}),
        "/chunks": Answer(chunks=[b"abc"], cut=True),
        "/raw": Answer(raw=b"not HTTP"),
        "/nothing": Answer(raw=b""),
    }
    with serve(routes) as site:
        for target in ("/short", "/chunks"):
            with pytest.raises(http.client.IncompleteRead) as caught:
                get(site, target)
            assert caught.value.partial in (b"abc", b"")
        with pytest.raises(http.client.BadStatusLine, match="not HTTP"):
            get(site, "/raw")
        with pytest.raises(http.client.RemoteDisconnected):
            get(site, "/nothing")


def test_chunks_stop_when_the_client_is_gone() -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(100_000)

    with serve({"/": Answer(chunks=endless())}) as site:
        with connected(site) as connection:
            connection.request("GET", "/")
            assert len(connection.getresponse().read(500_000)) == 500_000
        until = time.monotonic() + 10
        while site.active and time.monotonic() < until:
            pass
        assert site.active == 0
        assert 5 <= sent < 1000


def test_a_broken_handler_is_seen_by_the_client() -> None:
    async def later(arrival: Arrival) -> str:
        raise KeyError("later")

    def now(arrival: Arrival) -> str:
        raise KeyError("now")

    with serve({"/now": now, "/later": later, "/fine": "fine"}) as site:
        for target in ("now", "later"):
            response, body = get(site, f"/{target}")
            assert (response.status, body.decode()) == (500, f"KeyError: '{target}'")
        assert get(site, "/fine")[1] == b"fine"
        assert site.active == 0


@pytest.mark.parametrize("request_", [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_a_request_it_does_not_take(request_: bytes) -> None:
    with serve({"*": "ok"}) as site:
        assert exchange(site, request_).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_tls() -> None:
    authority: Any = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with serve({"/": "safe"}, tls=server) as site:
        assert site.url.startswith("https://127.0.0.1:")
        with closing(http.client.HTTPSConnection(urlsplit(site.url).netloc, context=client, timeout=10)) as connection:
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"safe"


def disappointed(site: Site) -> None:
    with pytest.raises(OSError, match=r"closed|reset"):
        get(site, "/")


def test_start_and_stop() -> None:
    site = serve({"*": Answer("never", delay=60)})
    assert repr(site) == "<Site stopped>"
    with site:
        assert repr(site) == f"<Site {site.url}, 0 served>"
        with pytest.raises(RuntimeError, match="is running already"):
            site.start()
        taken = int(urlsplit(site.url).port or 0)
        with pytest.raises(OSError, match="in use"):
            serve({}, port=taken).start()
        waiting = threading.Thread(target=disappointed, args=(site,))
        waiting.start()
        while not site.active:
            pass
    waiting.join(10)
    assert not waiting.is_alive(), "an exchange under way is ended"
    site.stop()
    with pytest.raises(OSError, match=r"refused"):
        get(site, "/")
    with site:
        assert site.url, "it can be started again"


def test_it_starts_and_stops_while_a_loop_runs() -> None:
    async def main() -> bytes:
        with serve({"*": "ok"}) as site:
            return (await asyncio.to_thread(get, site, "/"))[1]

    assert asyncio.run(main()) == b"ok"


def test_it_needs_the_standard_library_only() -> None:
    code = """
import importlib.util, sys
for name in ("site_server", "site_shop"):
    spec = importlib.util.spec_from_file_location(name, sys.argv[1] + "/" + name + ".py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
print(len(sys.modules["site_shop"].picture(3, 1)))
"""
    import streamcrawl.testing.site as module

    folder = str(module.__file__).rpartition("/")[0]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


# The shop


def page(shop: DemoSite, target: str, **headers: str) -> Selector:
    response, body = get(shop, target, **headers)
    assert response.status == 200, (target, response.status)
    return Selector(body.decode())


def test_the_shop_is_the_same_every_time() -> None:
    with DemoSite() as one, DemoSite() as other:
        for target in ("/", "/product/7", "/category/tea?page=2", "/pictures/7-1.png"):
            assert get(one, target)[1] == get(other, target)[1]


def test_every_page_answers_and_all_are_linked() -> None:
    with DemoSite(slow=0) as shop, connected(shop) as connection:
        linked = {"/"}
        for path in shop.paths:
            for status in (200, 200) if path != "/stock" else (503, 200):
                connection.request("GET", path, headers={"Cookie": "member=1987"})
                response = connection.getresponse()
                html = Selector(response.read().decode())
                assert (response.status, len(html.css("title"))) == (status, 1), path
                linked.update(html.css("a::attr(href)").getall())
        assert len(set(shop.paths)) == len(shop.paths) == 343
        assert set(shop.paths) <= linked
        assert len(linked - set(shop.paths)) == 300 + 12 + 2, "checkout by product, old addresses, basket, 404"


def test_a_product_and_its_pictures() -> None:
    with DemoSite() as shop:
        products = list(shop.products)
        assert len(products) == 300
        shown = products[2]
        html = page(shop, shown.path)
        assert html.css("h1::text").get() == shown.name
        assert html.css("p.price::text").get() == f"€ {shown.price}"
        assert html.css("p.rating::attr(data-rating)").get() == str(shown.rating)
        assert html.css("div.description::text").get() == shown.description
        sources = html.css("div.pictures img::attr(src)").getall()
        assert tuple(sources) == shown.pictures
        modes: set[str] = set()
        for each in products[:6]:
            for path in each.pictures:
                response, body = get(shop, path)
                image = Image.open(BytesIO(body))
                image.load()
                assert (response.headers["Content-Type"], image.size) == ("image/png", (160, 120))
                modes.add(image.mode)
        assert modes == {"RGB", "RGBA"}


def test_lists_lead_through_all_products() -> None:
    with DemoSite() as shop:
        found: list[str] = []
        for path in page(shop, "/").css("ul.categories a::attr(href)").getall():
            at: str | None = path
            while at is not None:
                html = page(shop, at)
                found += html.css("li.product a::attr(href)").getall()
                at = html.css("li.next a::attr(href)").get()
        assert sorted(found) == sorted(product.path for product in shop.products)


def test_what_makes_crawling_hard() -> None:
    with DemoSite(slow=0.1) as shop:
        first, _ = get(shop, "/stock")
        assert (first.status, first.headers["Retry-After"], get(shop, "/stock")[0].status) == (503, "1", 200)
        moved, _ = get(shop, "/old/3")
        assert (moved.status, moved.headers["Location"]) == (301, "/product/3")
        assert get(shop, "/old/12")[0].headers["Location"] == "/old/again-12"
        assert get(shop, "/old/again-12")[0].headers["Location"] == "/product/12"
        begun = time.monotonic()
        get(shop, "/news")
        assert time.monotonic() - begun >= 0.1
        wrong = ("/missing", "/product/0", "/product/301", "/product/x", "/category/none", "/category/tea?page=4")
        assert [get(shop, path)[0].status for path in (*wrong, "/old/x", "/pictures/1-9.png")] == [404] * 8


def test_members_need_the_cookie() -> None:
    with DemoSite() as shop:
        refused, _ = get(shop, "/members")
        assert (refused.status, refused.headers["Location"]) == (302, "/login")
        cookie = get(shop, "/login")[0].headers["Set-Cookie"].partition(";")[0]
        assert "Good to see you" in (page(shop, "/members", Cookie=cookie).css("p + h1 + p::text").get() or "")


def test_robots_and_sitemap() -> None:
    with DemoSite() as shop:
        rules = RobotFileParser()
        rules.parse(get(shop, "/robots.txt")[1].decode().splitlines())
        assert not rules.can_fetch("*", shop.url + "/checkout/add?product=1")
        assert rules.can_fetch("*", shop.url + "/product/1")
        assert rules.site_maps() == [shop.url + "/sitemap.xml"]
        response, body = get(shop, "/sitemap.xml")
        assert response.headers["Content-Type"] == "application/xml"
        listed = Selector(body.decode(), type="xml").xpath("//*[local-name()='loc']/text()").getall()
        assert len(listed) == 1 + 12 + 300
        assert all(get(shop, urlsplit(url).path)[0].status == 200 for url in listed[::40])


def test_gzip_where_it_is_accepted() -> None:
    with DemoSite() as shop:
        plain, body = get(shop, "/product/1")
        packed, smaller = get(shop, "/product/1", Accept_Encoding="br, gzip")
        assert (plain.headers["Content-Encoding"], packed.headers["Content-Encoding"]) == (None, "gzip")
        assert gzip.decompress(smaller) == body
        assert len(smaller) < len(body)


def test_a_crawl_finds_every_page_once() -> None:
    def parse(response: Response) -> Iterator[object]:
        yield {"path": response.url.removeprefix(response.request.site), "url": response.url}
        yield from response.follow_all(css="a")

    with DemoSite(slow=0.2) as shop:
        items = asyncio.run(Crawl(shop.url + "/").pipe(ops.download(), ops.scrape(parse)).collect())
        assert sorted(item["url"] for item in items) == sorted(shop.url + path for path in shop.paths)
        assert not any(path.startswith("/checkout") for path in shop.counts())


def test_who_connects_in_the_last_moment_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", left.append)
    for _ in range(20):
        with serve({}) as site:
            address = urlsplit(site.url)
            clients = [socket.create_connection((address.hostname or "", address.port or 0)) for _ in range(3)]
        for client in clients:
            client.close()
    gc.collect()
    assert left == [], "no socket was forgotten"
