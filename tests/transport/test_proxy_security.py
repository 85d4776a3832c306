"""What must not happen with proxies, over real ones: each test is named after what it prevents."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from proxy_servers import Proxy, proxying
from reactivex import from_iterable
from reactivex import operators as rxo

from streamcrawl.core import Outcome, Request
from streamcrawl.errors import AddressRefused, ProxyError
from streamcrawl.headers import Headers
from streamcrawl.operators.download import download
from streamcrawl.operators.proxy import proxy
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.retry import retry
from streamcrawl.proxies import rotation
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.transport import Wire

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD")


def to(url: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


def basic(userinfo: str) -> str:
    return "Basic " + b64encode(userinfo.encode()).decode()


def told(proxy: Proxy) -> list[tuple[str, list[str]]]:
    """What the proxy was asked, and the credentials with it."""
    return [(each.line.split()[0], each.all("proxy-authorization")) for each in proxy.asked]


def proxy_fields(site: Any) -> list[str]:
    return [name for seen in site.seen for name, _ in seen.fields if "proxy" in name.lower()]


async def brought(*layers: Any, wire: Wire, to: Request) -> Outcome:
    found: list[Outcome] = []
    fetch = wire.open(LocalRun(asyncio.get_running_loop()))
    try:
        await from_iterable([to]).pipe(download(*layers, fetch=fetch), rxo.do_action(found.append))
    finally:
        await fetch.aclose()
        await asyncio.sleep(0)
    (outcome,) = found
    return outcome


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch.setenv


@pytest.mark.parametrize("start", ["http", "https"])
def test_a_proxy_is_kept_on_a_redirect_to_another_scheme(
    serve: Any, environment: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, start: str
) -> None:
    """GHSA-jm3v-qxmh-hxwv."""

    async def main() -> None:
        async with (
            serve(PAGE) as plain,
            serve(PAGE, tls=server_tls) as secure,
            proxying() as for_http,
            proxying() as for_https,
        ):
            first, second = (plain, secure) if start == "http" else (secure, plain)
            first.answer = to(second.url())
            environment("http_proxy", for_http.url("http-user:one"))
            environment("https_proxy", for_https.url("https-user:two"))
            outcome = await brought(redirect(), proxy(), wire=Wire(verify=trusting), to=Request(first.url()))
            assert isinstance(outcome, Response)
            assert (outcome.url, outcome.body) == (second.url("/"), b"hi")
            assert told(for_http) == [("GET", [basic("http-user:one")])]
            assert told(for_https) == [("CONNECT", [basic("https-user:two")])]
            assert proxy_fields(plain) == proxy_fields(secure) == []

    asyncio.run(main())


def test_a_proxy_is_kept_where_the_other_scheme_has_none(
    serve: Any, environment: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    """GHSA-jm3v-qxmh-hxwv, with one proxy only."""

    async def main() -> None:
        async with serve(PAGE) as plain, serve(PAGE, tls=server_tls) as secure, proxying() as for_http:
            plain.answer = to(secure.url())
            environment("http_proxy", for_http.url("u:p"))
            outcome = await brought(redirect(), proxy(), wire=Wire(verify=trusting), to=Request(plain.url()))
            assert isinstance(outcome, Response)
            assert outcome.url == secure.url("/")
            assert told(for_http) == [("GET", [basic("u:p")])]
            assert (len(secure.seen), proxy_fields(secure)) == (1, [])

    asyncio.run(main())


def test_a_redirect_to_a_host_of_no_proxy_takes_the_credentials_along(serve: Any, environment: Any) -> None:
    async def main() -> None:
        async with serve(PAGE) as inside, serve(PAGE) as site, proxying() as outside:
            outside.names["shop.example"] = site.port
            site.answer = to(inside.url())
            environment("http_proxy", outside.url("u:p"))
            environment("no_proxy", "127.0.0.0/8")
            start = Request("http://shop.example/", headers=Headers({"Proxy-Authorization": "Bearer mine"}))
            outcome = await brought(redirect(), proxy(), wire=Wire(reach="any"), to=start)
            assert isinstance(outcome, Response)
            assert outcome.url == inside.url("/")
            assert told(outside) == [("GET", [basic("u:p")])]
            assert proxy_fields(site) == proxy_fields(inside) == []

    asyncio.run(main())


def test_own_credentials_for_a_named_proxy_on_a_hop_go_to_that_proxy_alone(serve: Any) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, serve(PAGE) as other, proxying() as named, proxying() as usual:
            named.credentials = "Bearer mine"
            named.names |= {"shop.example": site.port, "other.example": other.port}
            site.answer = to("http://other.example/")
            start = Request(
                "http://shop.example/", proxy=named.url(), headers=Headers({"Proxy-Authorization": "Bearer mine"})
            )
            outcome = await brought(redirect(), proxy(usual.url("u:p")), wire=Wire(), to=start)
            assert isinstance(outcome, Response)
            assert (outcome.url, outcome.status) == ("http://other.example/", 200)
            assert told(named) == [("GET", ["Bearer mine"])] * 2
            assert told(usual) == []
            assert proxy_fields(site) == proxy_fields(other) == []

    asyncio.run(main())


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_credentials_of_one_proxy_at_another(
    serve: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, secure: bool
) -> None:
    """GHSA-9x8m-2xpf-crp3."""

    def is_failed(outcome: Outcome) -> bool:
        return not isinstance(outcome, Response)

    async def main() -> None:
        async with (
            serve(PAGE, tls=server_tls if secure else None) as site,
            proxying() as one,
            proxying() as two,
            proxying() as bare,
        ):
            one.credentials = two.credentials = "Basic none is right"
            layers = (
                retry(times=3, on=is_failed, wait=lambda repeat, random: 0.0),
                proxy(rotation([one.url("u1:p1"), two.url("u2:p2"), bare.url()])),
            )
            own = Request(site.url(), headers=Headers({"Proxy-Authorization": "Bearer mine"}))
            outcome = await brought(*layers, wire=Wire(verify=trusting), to=own)
            assert isinstance(outcome, Response)
            verb = "CONNECT" if secure else "GET"
            assert told(one) == [(verb, [basic("u1:p1")])]
            assert told(two) == [(verb, [basic("u2:p2")])]
            assert told(bare) == [(verb, [])]
            assert (len(site.seen), proxy_fields(site)) == (1, [])

    asyncio.run(main())


def test_credentials_of_a_proxy_on_a_connection_that_was_used_directly(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with (
            serve(PAGE) as plain,
            serve(PAGE, tls=server_tls) as secure,
            proxying() as through,
            wire(verify=trusting) as fetch,
        ):
            for site in (plain, secure):
                for address in ("", through.url("u:p"), "", through.url("u:p")):
                    await fetch(Request(site.url(), proxy=address))
                assert (len(site.seen), proxy_fields(site)) == (4, [])
            assert told(through) == [*[("GET", [basic("u:p")])] * 2, ("CONNECT", [basic("u:p")])]

    asyncio.run(main())


def test_credentials_in_errors(wire: Any) -> None:
    async def main() -> None:
        async with proxying() as refusing, wire(timeout=5) as fetch:
            refusing.credentials = "Basic other"
            for url in ("http://shop.example/", "https://shop.example/"):
                with pytest.raises(ProxyError) as caught:
                    await fetch(Request(url, proxy=refusing.url("user:secret")))
                error: BaseException | None = caught.value
                while error is not None:
                    assert "secret" not in f"{error!s} {error!r}"
                    assert basic("user:secret")[6:] not in str(error)
                    error = error.__cause__ or error.__context__

    asyncio.run(main())


class Recording(AbstractResolver):
    """Notes the names that are looked up, and knows none."""

    names: list[str] = []  # noqa: RUF012 - of all instances: the transport makes them

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        self.names.append(host)
        raise OSError("no such name")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4"])
def test_a_name_is_looked_up_although_the_proxy_does_it(serve: Any, wire: Any, scheme: str) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, proxying(scheme) as through, wire(resolver=Recording) as fetch:
            Recording.names.clear()
            through.names["shop.example"] = site.port
            assert (await fetch(Request("http://shop.example/", proxy=through.url()))).body == b"hi"
            assert Recording.names == []

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_is_asked_for_a_private_address_that_the_request_may_not_reach(
    serve: Any, wire: Any, scheme: str
) -> None:
    async def main() -> None:
        async with serve(PAGE) as site, proxying(scheme) as through, wire(reach=()) as fetch:
            through.names["shop.example"] = site.port
            for url in (site.url(), "http://localhost/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/"):
                with pytest.raises(AddressRefused):
                    await fetch(Request(url, proxy=through.url()))
            assert through.connections == 0
            # The proxy itself may stand on a private address: it is the user's own.
            assert (await fetch(Request("http://shop.example/", proxy=through.url()))).body == b"hi"

    asyncio.run(main())
