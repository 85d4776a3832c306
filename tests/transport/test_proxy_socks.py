"""Requests through SOCKS proxies."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from proxy_servers import proxying

from streamcrawl.core import Request
from streamcrawl.errors import FetchTimeout, ProxyError, TLSError, UnsupportedScheme
from streamcrawl.headers import Headers
from streamcrawl.transport import proxied

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "socks4a"])
def test_the_proxy_resolves_the_name(serve: Any, wire: Any, scheme: str) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, proxying(scheme) as proxy, wire() as fetch:
            proxy.names["shop.example"] = site.port
            response = await fetch(Request("http://shop.example/a?b", proxy=proxy.url()))
            assert (response.body, response.ip_address) == (b"hi", "")
            assert proxy.targets == ["shop.example:80"]
            assert site.seen[0].line == "GET /a?b HTTP/1.1"
            assert site.seen[0].all("host") == ["shop.example"]

    asyncio.run(main())


def test_https_and_connections_that_are_used_again(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(PAGE, tls=server_tls) as site, proxying("socks5") as proxy:
            async with wire(verify=trusting) as fetch:
                for _ in range(3):
                    assert (await fetch(Request(site.url(), proxy=proxy.url()))).body == b"hi"
                assert proxy.targets == [f"127.0.0.1:{site.port}"]
                assert (site.connections, len(site.seen)) == (1, 3)
            async with wire() as distrustful:
                with pytest.raises(TLSError, match=f"through the proxy {proxy.url()}: TLS with 127.0.0.1 failed"):
                    await distrustful(Request(site.url(), proxy=proxy.url()))

    asyncio.run(main())


def test_credentials_go_to_the_proxy_and_nowhere_else(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, proxying("socks5") as proxy, wire() as fetch:
            proxy.credentials = "u@x:p:q"
            own = Headers({"Proxy-Authorization": "Bearer token"})
            response = await fetch(Request(site.url(), proxy=proxy.url("u%40x:p%3Aq"), headers=own))
            assert response.body == b"hi"
            assert proxy.given == ["u@x:p:q"]
            assert [name for name, _ in site.seen[0].fields if "proxy" in name.lower()] == []

    asyncio.run(main())


@pytest.mark.parametrize("userinfo", ["", "user:wrong"])
def test_wrong_credentials_are_the_proxys_business(wire: Any, userinfo: str) -> None:
    async def main() -> None:
        async with proxying("socks5") as proxy, wire() as fetch:
            proxy.credentials = "user:right"
            with pytest.raises(ProxyError) as caught:
                await fetch(Request("http://shop.example/", proxy=proxy.url(userinfo)))
            assert (caught.value.proxy, caught.value.beyond) == (proxy.url(), False)
            assert "wrong" not in str(caught.value)

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["socks5", "socks4"])
def test_a_server_that_the_proxy_cannot_reach(wire: Any, scheme: str) -> None:
    async def main() -> None:
        async with proxying(scheme) as proxy, wire() as fetch:
            proxy.names["shop.example"] = 1
            with pytest.raises(ProxyError, match=f"the proxy {proxy.url()} does not connect to the server") as caught:
                await fetch(Request("http://shop.example/", proxy=proxy.url()))
            assert caught.value.beyond

    asyncio.run(main())


def test_a_proxy_that_is_not_there_or_hangs_up_or_says_nothing(wire: Any) -> None:
    async def main() -> None:
        async with proxying("socks5") as proxy, wire(timeout=0.2) as fetch:
            request = Request("http://shop.example/", proxy=proxy.url())
            proxy.answer = b""
            with pytest.raises(ProxyError) as caught:
                await fetch(request)
            assert not caught.value.beyond
            proxy.answer, proxy.silent = None, True
            with pytest.raises(FetchTimeout, match=f"through the proxy {proxy.url()}"):
                await fetch(request)
        async with wire() as fetch:
            with pytest.raises(ProxyError, match="cannot connect to the proxy socks5://") as caught:
                await fetch(request)
            assert not caught.value.beyond

    asyncio.run(main())


def test_without_the_package_it_is_told_in_one_line(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        """No package is installed."""

    monkeypatch.setattr(proxied, "find_spec", nothing)

    async def main() -> None:
        async with wire() as fetch:
            with pytest.raises(UnsupportedScheme) as caught:
                await fetch(Request("http://shop.example/", proxy="socks5://u:secret@127.0.0.1:1"))
        assert str(caught.value) == (
            "the proxy socks5://127.0.0.1:1 needs the package aiohttp-socks: pip install 'streamcrawl[socks]'"
        )

    asyncio.run(main())


def test_many_proxies_do_not_stay_open(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, proxying("socks5") as proxy, wire() as fetch:
            for number in range(proxied.OPEN + 5):
                proxy.credentials = f"session{number}:p"
                response = await fetch(Request(site.url(), proxy=proxy.url(f"session{number}:p")))
                assert response.body == b"hi"
            while site.open_connections > proxied.OPEN:
                site.closed.clear()
                await asyncio.wait_for(site.closed.wait(), 10)
            assert site.connections == proxied.OPEN + 5

    asyncio.run(main())
