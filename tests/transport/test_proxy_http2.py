"""HTTP/2 through HTTP proxies."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from typing import Any

import pytest
from proxy_servers import proxying

from streamcrawl.core import Request
from streamcrawl.errors import FetchTimeout, ProxyError, TLSError, UnsupportedScheme
from streamcrawl.headers import Headers

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def basic(userinfo: bytes) -> str:
    return "Basic " + b64encode(userinfo).decode()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_credentials_go_to_the_proxy_and_nowhere_else(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, scheme: str, secure: bool
) -> None:
    async def main() -> None:
        async with (
            serve(PAGE, tls=server_tls if secure else None) as site,
            proxying(scheme, tls=server_tls if scheme == "https" else None) as proxy,
            wire(http2=True, verify=trusting) as fetch,
        ):
            proxy.credentials = basic("us\u00e9r:p".encode())
            own = Headers({"Proxy-Authorization": "Bearer token"})
            request = Request(site.url("/a?b"), proxy=proxy.url("us%C3%A9r:p"), headers=own)
            response = await fetch(request)
            assert (response.body, response.ip_address) == (b"hi", "")
            assert proxy.asked[0].all("proxy-authorization") == [proxy.credentials]
            assert site.seen[0].line == "GET /a?b HTTP/1.1"
            assert [name for name, _ in site.seen[0].fields if "proxy" in name.lower()] == []
            streamed = await fetch(request.replace(stream=True))
            assert [chunk async for chunk in streamed.stream] == [b"hi"]
            asked = len(proxy.asked)
            assert (await fetch(request.replace(proxy=""))).body == b"hi"
            assert (len(proxy.asked), [seen.all("proxy-authorization") for seen in site.seen]) == (asked, [[], [], []])

    asyncio.run(main())


def test_it_speaks_http_2_in_the_tunnel(wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    protocols: list[str | None] = []
    hello = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        hello.set()
        writer.close()

    async def main() -> None:
        server_tls.set_alpn_protocols(["h2", "http/1.1"])
        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_tls)
        port = server.sockets[0].getsockname()[1]
        async with proxying() as proxy, wire(http2=True, verify=trusting, timeout=5) as fetch:
            with pytest.raises(Exception, match=f"through the proxy {proxy.url()}"):
                await fetch(Request(f"https://127.0.0.1:{port}/", proxy=proxy.url()))
            await hello.wait()
        server.close()
        await server.wait_closed()

    asyncio.run(main())
    assert protocols == ["h2"]


def test_what_goes_wrong_is_told_as_of_http_1(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(PAGE, tls=server_tls) as site, proxying() as proxy:
            async with wire(http2=True, verify=trusting, timeout=5) as fetch:
                proxy.credentials = "Basic right"
                for url in (site.url(), "http://shop.example/"):
                    with pytest.raises(ProxyError, match="was given credentials that it does not take: 407") as caught:
                        await fetch(Request(url, proxy=proxy.url("u:secret")))
                    assert (caught.value.status, caught.value.beyond) == (407, False)
                    assert "secret" not in str(caught.value)
                proxy.credentials, proxy.answer = None, b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
                with pytest.raises(ProxyError, match="does not connect to the server: 502 Bad Gateway") as caught:
                    await fetch(Request(site.url(), proxy=proxy.url()))
                assert caught.value.beyond
                proxy.answer, proxy.silent = None, True
                with pytest.raises(FetchTimeout, match=f"through the proxy {proxy.url()}"):
                    await fetch(Request(site.url(), proxy=proxy.url(), timeout=0.1))
                proxy.silent = False
                with pytest.raises(
                    UnsupportedScheme, match="http2=True goes through HTTP proxies, not socks5://h:1080"
                ):
                    await fetch(Request(site.url(), proxy="socks5://u:secret@h"))
            async with wire(http2=True) as distrustful:
                with pytest.raises(TLSError, match=f"through the proxy {proxy.url()}: TLS with 127.0.0.1 failed"):
                    await distrustful(Request(site.url(), proxy=proxy.url()))
        async with wire(http2=True) as fetch:
            with pytest.raises(ProxyError, match=f"cannot connect to the proxy {proxy.url()}: ") as caught:
                await fetch(Request("https://shop.example/", proxy=proxy.url("u:secret")))
            assert not caught.value.beyond

    asyncio.run(main())
