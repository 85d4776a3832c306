"""Requests through HTTP proxies: plain, in tunnels, with credentials, and what goes wrong."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from typing import Any

import pytest
from proxy_servers import proxying

from streamcrawl.core import Request
from streamcrawl.errors import FetchError, FetchTimeout, ProtocolError, ProxyError, TLSError
from streamcrawl.headers import Headers
from streamcrawl.proxy_urls import ProxyAddress, proxy_address
from streamcrawl.transport.proxied import OPEN, PerProxy, proxy_of

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
ASKS = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"


def basic(userinfo: bytes) -> str:
    return "Basic " + b64encode(userinfo).decode()


def test_a_page_through_a_proxy_that_resolves_the_name(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, proxying() as proxy, wire() as fetch:
            proxy.names["shop.example"] = site.port
            response = await fetch(Request("http://shop.example/a?b=1", proxy=proxy.url()))
            assert (response.status, response.body, response.url) == (200, b"hi", "http://shop.example/a?b=1")
            assert response.ip_address == ""  # the proxy's is not the server's
            assert proxy.asked[0].line == "GET http://shop.example/a?b=1 HTTP/1.1"
            assert proxy.asked[0].all("host") == ["shop.example"]
            assert site.seen[0].line == "GET /a?b=1 HTTP/1.1"
            assert proxy.asked[0].all("proxy-authorization") == []

    asyncio.run(main())


def test_https_goes_through_a_tunnel(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(PAGE, tls=server_tls) as site, proxying() as proxy, wire(verify=trusting) as fetch:
            for path in ("/one", "/two"):
                response = await fetch(Request(site.url(path), proxy=proxy.url(), method="POST", body=b"secret"))
                assert (response.status, response.body) == (200, b"hi")
            assert [each.line for each in proxy.asked] == [f"CONNECT 127.0.0.1:{site.port} HTTP/1.1"]
            assert [each.line for each in site.seen] == ["POST /one HTTP/1.1", "POST /two HTTP/1.1"]
            assert site.connections == 1
            assert "aiohttp" not in proxy.asked[0].all("user-agent")[0]

    asyncio.run(main())


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_proxy_that_speaks_tls(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, secure: bool
) -> None:
    async def main() -> None:
        async with (
            serve(PAGE, tls=server_tls if secure else None) as site,
            proxying("https", tls=server_tls) as proxy,
            wire(verify=trusting) as fetch,
        ):
            response = await fetch(Request(site.url(), proxy=proxy.url("u:p")))
            assert response.body == b"hi"
            assert proxy.asked[0].all("proxy-authorization") == [basic(b"u:p")]
            assert site.seen[0].all("proxy-authorization") == []

    asyncio.run(main())


@pytest.mark.parametrize(
    "target", ["/a%7Eb/%41?q=a+b%20c&d=%e2%82%ac", "/a|b'c;d=e,f", "/x//y/../z%2F..", "/?a=http://u@h/", "/%zz?%"]
)
def test_the_target_goes_out_as_it_stands(serve: Any, wire: Any, target: str) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, proxying() as proxy, wire() as fetch:
            await fetch(Request(site.url(target), proxy=proxy.url()))
            assert proxy.targets == [site.url(target)]

    asyncio.run(main())


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("userinfo", "sent"),
    [
        ("user:pass", b"user:pass"),
        ("u%40x:p%3Aq", b"u@x:p:q"),
        ("us%C3%A9r:", "usér:".encode()),
        ("us%E9r", b"us\xe9r:"),
    ],
)
def test_credentials_go_to_the_proxy_and_nowhere_else(
    serve: Any,
    wire: Any,
    server_tls: ssl.SSLContext,
    trusting: ssl.SSLContext,
    userinfo: str,
    sent: bytes,
    secure: bool,
) -> None:
    async def main() -> None:
        async with (
            serve(PAGE, tls=server_tls if secure else None) as site,
            proxying() as proxy,
            wire(verify=trusting) as fetch,
        ):
            proxy.credentials = basic(sent)
            response = await fetch(Request(site.url(), proxy=proxy.url(userinfo)))
            assert response.body == b"hi"
            assert proxy.asked[0].all("proxy-authorization") == [basic(sent)]
            (seen,) = site.seen
            assert [name for name, _ in seen.fields if "proxy" in name.lower()] == []

    asyncio.run(main())


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_field_of_ones_own_goes_to_the_proxy_of_the_request(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, secure: bool
) -> None:
    async def main() -> None:
        async with (
            serve(PAGE, tls=server_tls if secure else None) as site,
            proxying() as proxy,
            wire(verify=trusting) as fetch,
        ):
            own = Headers({"proxy-authorization": "Bearer token", "X-Mine": "1"})
            await fetch(Request(site.url(), proxy=proxy.url(), headers=own))
            await fetch(Request(site.url(), proxy=proxy.url("u:p"), headers=own))
            assert [each.all("proxy-authorization") for each in proxy.asked] == [["Bearer token"], [basic(b"u:p")]]
            assert [each.all("proxy-authorization") for each in site.seen] == [[], []]
            assert [each.all("x-mine") for each in site.seen] == [["1"], ["1"]]

    asyncio.run(main())


@pytest.mark.parametrize("proxy", [None, ""])
def test_a_field_of_ones_own_goes_nowhere_without_a_proxy(serve: Any, wire: Any, proxy: str | None) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, wire() as fetch:
            own = Headers([("Proxy-Authorization", "Bearer token"), ("PROXY-AUTHORIZATION", "Basic dTpw")])
            assert (await fetch(Request(site.url(), proxy=proxy, headers=own))).body == b"hi"
            assert [name for name, _ in site.seen[0].fields if "proxy" in name.lower()] == []

    asyncio.run(main())


def test_two_credentials_share_no_connection(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(PAGE, tls=server_tls) as site, proxying() as proxy, wire(verify=trusting) as fetch:
            for userinfo in ("one:p", "two:p", "one:p"):
                await fetch(Request(site.url(), proxy=proxy.url(userinfo)))
            asked = [each.all("proxy-authorization") for each in proxy.asked]
            assert asked == [[basic(b"one:p")], [basic(b"two:p")]]
            assert (site.connections, len(site.seen)) == (2, 3)
            await fetch(Request(site.url(), proxy=""))
            assert (site.connections, len(proxy.asked)) == (3, 2)  # and no tunnel serves what goes directly

    asyncio.run(main())


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("userinfo", ["", "user:wrong"])
def test_wrong_credentials_are_told_without_showing_them(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, userinfo: str, secure: bool
) -> None:
    async def main() -> None:
        async with (
            serve(PAGE, tls=server_tls if secure else None) as site,
            proxying() as proxy,
            wire(verify=trusting) as fetch,
        ):
            proxy.credentials = basic(b"user:right")
            with pytest.raises(ProxyError) as caught:
                await fetch(Request(site.url(), proxy=proxy.url(userinfo)))
            error = caught.value
            assert (error.status, error.beyond, error.proxy) == (407, False, proxy.url())
            assert f"the proxy {proxy.url()} was given" in str(error)
            assert "407" in str(error)
            assert "wrong" not in f"{error} {error!r} {error.__cause__}"
            assert site.seen == []
            # The next one is served, on connections that are in order.
            proxy.credentials = None
            assert (await fetch(Request(site.url(), proxy=proxy.url()))).body == b"hi"

    asyncio.run(main())


def test_a_server_that_answers_407_through_a_tunnel_is_a_page(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(ASKS, tls=server_tls) as site, proxying() as proxy, wire(verify=trusting) as fetch:
            assert (await fetch(Request(site.url(), proxy=proxy.url()))).status == 407
        async with serve(ASKS) as site, wire() as fetch:
            assert (await fetch(Request(site.url()))).status == 407

    asyncio.run(main())


@pytest.mark.parametrize(("status", "beyond"), [(403, False), (429, False), (502, True), (503, True), (504, True)])
def test_a_proxy_that_makes_no_tunnel(wire: Any, trusting: ssl.SSLContext, status: int, beyond: bool) -> None:
    async def main() -> None:
        async with proxying() as proxy, wire(verify=trusting) as fetch:
            proxy.answer = f"HTTP/1.1 {status} No Way\r\nContent-Length: 0\r\n\r\n".encode()
            with pytest.raises(ProxyError) as caught:
                await fetch(Request("https://shop.example/", proxy=proxy.url("u:secret")))
            assert (caught.value.status, caught.value.beyond) == (status, beyond)
            assert str(caught.value) == (
                f"https://shop.example/: the proxy {proxy.url()} does not connect to the server: {status} No Way"
            )

    asyncio.run(main())


@pytest.mark.parametrize("url", ["http://shop.example/", "https://shop.example/"])
def test_a_proxy_that_is_not_there(wire: Any, url: str) -> None:
    async def main() -> None:
        async with proxying() as proxy:
            gone = proxy.url("u:secret")
        async with wire() as fetch:
            with pytest.raises(ProxyError, match=r"cannot connect to the proxy http://127\.0\.0\.1:[0-9]+: ") as caught:
                await fetch(Request(url, proxy=gone))
            assert (caught.value.beyond, caught.value.status) == (False, 0)
            assert "secret" not in str(caught.value)
            with pytest.raises(ProxyError, match="its name has no address"):
                await fetch(Request(url, proxy="http://no-such-proxy.invalid:1"))

    asyncio.run(main())


def test_whose_certificate_is_wrong(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with (
            serve(PAGE, tls=server_tls) as site,
            proxying() as proxy,
            proxying("https", tls=server_tls) as secure,
            wire() as fetch,
        ):
            with pytest.raises(TLSError, match=f"through the proxy {proxy.url()}: TLS with 127.0.0.1 failed"):
                await fetch(Request(site.url(), proxy=proxy.url()))
            for url in ("http://shop.example/", site.url()):
                with pytest.raises(ProxyError, match=f"cannot connect to the proxy {secure.url()}: TLS failed"):
                    await fetch(Request(url, proxy=secure.url()))

    asyncio.run(main())


@pytest.mark.parametrize("url", ["http://shop.example/", "https://shop.example/"])
def test_a_proxy_that_says_nothing_or_hangs_up(wire: Any, url: str) -> None:
    async def main() -> None:
        async with proxying() as proxy, wire(timeout=0.2) as fetch:
            proxy.silent = True
            with pytest.raises(FetchTimeout, match=f"through the proxy {proxy.url()}: no complete answer"):
                await fetch(Request(url, proxy=proxy.url("u:secret")))
            proxy.silent, proxy.answer = False, b""
            with pytest.raises(ProtocolError, match=f"through the proxy {proxy.url()}: ") as caught:
                await fetch(Request(url, proxy=proxy.url("u:secret")))
            assert "secret" not in str(caught.value)
            proxy.answer = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"
            with pytest.raises(ProtocolError, match=f"through the proxy {proxy.url()}: "):
                await fetch(Request(url, proxy=proxy.url()))

    asyncio.run(main())


@pytest.mark.parametrize(
    "bad", ["http://", "ftp://127.0.0.1:1", "http://h:99999", "http://u:secret@h/path", "http://u:se/cret@h"]
)
def test_a_proxy_that_is_none_is_told(serve: Any, wire: Any, bad: str) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, wire() as fetch:
            with pytest.raises(FetchError, match="the request cannot be sent: proxy ") as caught:
                await fetch(Request(site.url(), proxy=bad))
            assert not isinstance(caught.value, ProxyError)
            assert "cret" not in str(caught.value)
            assert site.seen == []

    asyncio.run(main())


def test_a_streamed_body_comes_through(serve: Any, wire: Any) -> None:
    async def main() -> None:
        long = b"x" * 300_000
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + long
        async with serve(answer) as site, proxying() as proxy, wire() as fetch:
            response = await fetch(Request(site.url(), proxy=proxy.url(), stream=True))
            assert b"".join([chunk async for chunk in response.stream]) == long

    asyncio.run(main())


def test_a_field_is_taken_out_whatever_its_spelling() -> None:
    fields = [("A", "1"), ("Proxy-authorization", "x"), ("PROXY-AUTHORIZATION", "y"), ("B", "2")]
    found = proxy_of("http://p:1", fields)
    assert found is not None
    assert (found.authorization, fields) == ("y", [("A", "1"), ("B", "2")])


def test_what_is_open_for_a_proxy_is_closed_when_unused_and_many_others_came() -> None:
    closed: list[str] = []

    async def close(value: str) -> None:
        closed.append(value)

    def make(proxy: ProxyAddress) -> str:
        return proxy.url

    async def main() -> None:
        open_ones = PerProxy(make, close)
        held, held_over = await open_ones.take(proxy_address("socks5://p0"))
        _, over = await open_ones.take(proxy_address("socks5://p1"))
        await over()
        for number in range(2, OPEN + 2):
            _, over = await open_ones.take(proxy_address(f"socks5://p{number}"))
            await over()
        assert closed == ["socks5://p1:1080"]  # of the two oldest, the one that nobody uses
        await held_over()
        await held_over()
        assert closed == ["socks5://p1:1080", held]
        await open_ones.aclose()
        assert len(closed) == len(set(closed)) == OPEN + 2

    asyncio.run(main())
