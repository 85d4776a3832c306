"""What a request may reach: nobody who was not started on a private network gets there, however he tries."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Iterable
from typing import Any

import pytest
import trustme
from aiohttp.abc import ResolveResult
from internet import LOCAL, Internet, Names, on_internet

from streamcrawl.core import Lease, Request
from streamcrawl.errors import AddressRefused, FetchError, FetchTimeout, ResolveError
from streamcrawl.streams.local import LocalRun
from streamcrawl.transport import Wire
from streamcrawl.transport.pool import make_session
from streamcrawl.transport.reach import ANY, SITES, STATE, Reaching

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PUBLIC, OTHER = "93.184.216.34", "8.8.8.8"
SITE, STRANGER = "http://shop.example", "http://other.example"


def names(**more: Iterable[str]) -> Names:
    return Names(shop_example=[PUBLIC], other_example=[OTHER], intranet_corp=["10.1.2.3"], **more)


async def refusal(fetched: Awaitable[Any]) -> str:
    with pytest.raises(AddressRefused) as caught:
        await fetched
    return str(caught.value)


def test_a_public_site_reaches_public_addresses(wire: Any, serve: Any) -> None:
    async def main(net: Internet) -> None:
        async with serve(OK) as site, wire(resolver=names) as fetch:
            for url in ("http://shop.example", "http://other.example", "http://9.9.9.9"):
                assert (await fetch(Request(f"{url}:{site.port}/", site=SITE))).body == b"ok"
            assert net.asked == [PUBLIC, OTHER, "9.9.9.9"]

    on_internet(main)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://[::1]:{port}/",
        "http://10.0.0.1:{port}/",
        "http://169.254.169.254:{port}/latest/meta-data/",
        "http://[fd00:ec2::254]:{port}/",
        "http://168.63.129.16:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://[64:ff9b::7f00:1]:{port}/",
        "http://[2002:7f00:1::]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://[::]:{port}/",
        "http://intranet.corp:{port}/",
        "http://localhost:{port}/",
        "http://localhost.:{port}/",
        "http://sixteen.example:{port}/",
    ],
)
def test_a_public_site_reaches_no_private_address(wire: Any, serve: Any, url: str) -> None:
    async def main(net: Internet) -> None:
        made = names(localhost=[LOCAL], sixteen_example=["::ffff:10.0.0.1"])
        made.names["localhost."] = (LOCAL,)
        async with serve(OK) as site, wire(resolver=lambda: made) as fetch:
            target = url.format(port=site.port)
            assert (await fetch(Request(f"{SITE}:{site.port}/", site=SITE))).status == 200
            text = await refusal(fetch(Request(target, site=SITE)))
            assert "this request may not reach it; Request(reach=…), Wire(reach=…) or ops.guard(allow=…)" in text
            # As a hop, and fetched for a page of the site, it fares no better.
            await refusal(fetch(Request(target, site=SITE, via=(SITE,))))
            await refusal(fetch(nested(Request(target), Request(SITE, site=SITE, start=True))))
            assert net.asked == [PUBLIC]
            assert len(site.seen) == 1

    on_internet(main)


@pytest.mark.parametrize("url", ["http://2130706433:{port}/", "http://0x7f.1:{port}/", "http://017700000001:{port}/"])
def test_ssrf_by_an_address_in_other_digits(wire: Any, serve: Any, url: str) -> None:
    """The frontier writes these as 127.0.0.1; what comes to the wire as it is goes nowhere either."""

    async def main(net: Internet) -> None:
        async with serve(OK) as site, wire(reach=()) as fetch:
            with pytest.raises(FetchError):
                await fetch(Request(url.format(port=site.port), site=SITE))
            assert (net.asked, site.seen) == ([], [])

    on_internet(main)


def nested(request: Request, parent: Request) -> Request:
    lease = Lease(1, request, "h", lambda lease: None)
    lease.parent = Lease(2, parent, "h", lambda lease: None)
    return request.replace(lease=lease)


@pytest.mark.parametrize("site", ["http://intranet.corp", "http://10.1.2.3", "http://localhost", "http://[::1]:9"])
def test_a_private_site_reaches_private_networks(wire: Any, serve: Any, site: str) -> None:
    async def main(net: Internet) -> None:
        async with serve(OK) as server, wire(resolver=lambda: names(localhost=[LOCAL])) as fetch:
            for url in ("http://intranet.corp", "http://192.168.7.7", "http://localhost", "http://shop.example"):
                assert (await fetch(Request(f"{url}:{server.port}/", site=site))).body == b"ok"
            assert net.asked == ["10.1.2.3", "192.168.7.7", LOCAL, PUBLIC]
            # A cloud's credentials are not what a private network is there for.
            assert "a cloud's metadata service" in await refusal(fetch(Request("http://169.254.169.254/", site=site)))

    on_internet(main)


def test_a_start_at_the_metadata_service_itself_means_it(wire: Any, serve: Any) -> None:
    async def main(net: Internet) -> None:
        made = names(metadata_example=["169.254.169.254"])
        async with serve(OK) as server, wire(resolver=lambda: made) as fetch:
            start = f"http://169.254.169.254:{server.port}/"
            assert (await fetch(Request(start, site=start[:-1], start=True))).body == b"ok"
            # A name that leads there may be anybody's.
            named = f"http://metadata.example:{server.port}"
            assert "metadata.example (169.254.169.254): the address is a cloud's metadata service" in await refusal(
                fetch(Request(named, site=named, start=True))
            )
            assert net.asked == ["169.254.169.254"]

    on_internet(main)


def test_one_site_s_network_is_not_open_to_another_by_a_connection_that_is_kept(wire: Any, serve: Any) -> None:
    async def main(net: Internet) -> None:
        async with serve(OK) as server, wire(resolver=names) as fetch:
            target = f"http://intranet.corp:{server.port}/"
            assert (await fetch(Request(target, site="http://intranet.corp"))).status == 200
            assert server.open_connections == 1
            assert "intranet.corp (10.1.2.3): the address is private" in await refusal(
                fetch(Request(target, site=SITE))
            )
            assert (await fetch(Request(target, site="http://intranet.corp"))).status == 200
            assert (server.connections, len(server.seen)) == (1, 2)
            # The requests of all public sites share theirs.
            await fetch(Request(f"{SITE}:{server.port}/", site=SITE))
            await fetch(Request(f"{SITE}:{server.port}/", site=STRANGER))
            assert server.connections == 2

    on_internet(main)


def test_ssrf_by_dns_rebinding(wire: Any, serve: Any) -> None:
    """The start was public; later its name turns to a private address: for links, and for a start of the same host."""

    async def main(net: Internet) -> None:
        made = names()
        async with serve(OK) as server, wire(resolver=lambda: made) as fetch:
            server.closing = True
            page = Request(f"{SITE}:{server.port}/", site=SITE, start=True)
            assert (await fetch(page)).status == 200
            made.names["shop.example"] = ("10.0.0.1",)
            forget(fetch)
            for request in (page, page.replace(start=False), page.replace(via=(SITE,)), page.replace(site="")):
                assert "shop.example (10.0.0.1): the address is private" in await refusal(fetch(request))
            assert net.asked == [PUBLIC]
            assert made.asked.count("shop.example") == 2

    on_internet(main)


def forget(fetch: Any) -> None:
    """As if the time that an answer of the resolver serves were over."""
    for transport in fetch._by_opener.values():
        transport._names._found.clear()


def test_ssrf_by_dns_rebinding_between_the_check_and_the_connection(wire: Any, serve: Any) -> None:
    """A resolver that gives another answer each time: what is checked is what is connected to."""

    class Turning(Names):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
            self.names["shop.example"] = ((PUBLIC,), ("10.0.0.1",))[len(self.asked) % 2]
            return await super().resolve(host, port, family)

    async def main(net: Internet) -> None:
        made = Turning()
        async with serve(OK) as server, wire(resolver=lambda: made) as fetch:
            server.closing = True
            page = Request(f"{SITE}:{server.port}/", site=SITE, start=True)
            came: list[bytes] = []
            for _ in range(6):
                with contextlib.suppress(AddressRefused):
                    came.append((await fetch(page)).body)
                forget(fetch)
            assert came == [b"ok"] * 3
            assert net.asked == [PUBLIC] * 3
            assert len(made.asked) == 6

    on_internet(main)


def test_of_several_addresses_a_public_site_gets_the_public_ones(wire: Any, serve: Any) -> None:
    async def main(net: Internet) -> None:
        made = Names(shop_example=["10.0.0.1", PUBLIC, "127.0.0.1", OTHER])
        async with serve(OK) as server, wire(resolver=lambda: made) as fetch:
            server.closing = True
            for _ in range(4):
                assert (await fetch(Request(f"{SITE}:{server.port}/", site=SITE, start=True))).body == b"ok"
            assert set(net.asked) == {PUBLIC, OTHER}, "in turn, and no private one"
            # One private address among them makes no private site.
            await refusal(fetch(Request("http://10.0.0.1/", site=SITE)))

    on_internet(main)


def test_a_name_is_asked_for_once(wire: Any, serve: Any) -> None:
    async def main(net: Internet) -> None:
        made = names()
        async with serve(OK) as server, wire(resolver=lambda: made) as fetch:
            urls = [f"{SITE}:{server.port}/{n}" for n in range(20)]
            await asyncio.gather(*(fetch(Request(url, site=SITE, start=n % 2 == 0)) for n, url in enumerate(urls)))
            assert made.asked == ["shop.example"]
        assert made.closed == 1

    on_internet(main)


def test_a_stage_used_alone_takes_each_request_for_a_start(wire: Any, serve: Any) -> None:
    async def main(net: Internet) -> None:
        async with serve(OK) as server, wire(resolver=names) as fetch:
            target = f"http://intranet.corp:{server.port}/"
            assert (await fetch(Request(target))).body == b"ok"
            assert (await fetch(Request(f"http://10.9.9.9:{server.port}/", via=(target,)))).body == b"ok"
            # A hop, and what is fetched for another request, do not start anything.
            await refusal(fetch(Request(target, via=(SITE + "/",))))
            await refusal(fetch(nested(Request(target), Request(SITE + "/"))))
            assert (await fetch(nested(Request(target), Request(target)))).body == b"ok"

    on_internet(main)


def test_robots_txt_of_a_private_start_is_fetched_before_the_start_itself(wire: Any, serve: Any) -> None:
    async def main(net: Internet) -> None:
        async with serve(OK) as server, wire(resolver=names) as fetch:
            host = f"http://intranet.corp:{server.port}"
            start = Request(host + "/", site=host, start=True)
            robots = Request(host + "/robots.txt", site=host)
            assert (await fetch(nested(robots, start))).body == b"ok"
            assert (await fetch(start)).body == b"ok"
            assert server.connections == 1, "both go over one connection"

    on_internet(main)


def test_a_start_from_a_local_file_reaches_public_addresses_only(wire: Any, serve: Any) -> None:
    async def main(net: Internet) -> None:
        async with serve(OK) as server, wire(resolver=names) as fetch:
            assert (await fetch(Request(f"{SITE}:{server.port}/", site="file://"))).body == b"ok"
            await refusal(fetch(Request(f"http://127.0.0.1:{server.port}/", site="file://")))

    on_internet(main)


@pytest.mark.parametrize(
    ("of_wire", "of_request", "reached"),
    [
        ("start", ("any",), {"intranet", "local", "metadata", "public"}),
        ("start", "any", {"intranet", "local", "metadata", "public"}),
        ("start", ("10.1.0.0/16",), {"intranet", "public"}),
        ("start", ("private",), {"intranet", "local", "public"}),
        ("start", (), {"public"}),
        ("any", (), {"public"}),
        ("any", ("public",), {"public"}),
        ("any", ("public", "!8.8.8.8"), {"public"}),
        ("public", None, {"public"}),
        ("public", ("!8.8.8.8",), {"public"}),
        ("any", None, {"intranet", "local", "metadata", "public"}),
        ((), None, {"public"}),
        (("start", "127.0.0.1"), None, {"local", "public"}),
        (("private", "!10.1.2.0/24"), None, {"local", "public"}),
        ("any", ("!93.184.216.34",), {"intranet", "local", "metadata"}),
        (("127.0.0.1",), ("!10.0.0.0/8",), {"local", "public"}),
    ],
)
def test_what_wire_and_request_say_of_reach(
    wire: Any, serve: Any, of_wire: Any, of_request: Any, reached: set[str]
) -> None:
    async def main(net: Internet) -> None:
        async with serve(OK) as server, wire(resolver=names, reach=of_wire) as fetch:
            hosts = {
                "intranet": "intranet.corp",
                "local": LOCAL,
                "metadata": "169.254.169.254",
                "public": "shop.example",
            }
            got: set[str] = set()
            for kind, host in hosts.items():
                request = Request(f"http://{host}:{server.port}/", site=SITE, reach=of_request)
                try:
                    await fetch(request)
                    got.add(kind)
                except AddressRefused:
                    pass
            assert got == reached

    on_internet(main)


def test_reach_of_nothing_but_public_addresses_holds_for_a_private_start_too(wire: Any) -> None:
    async def main(net: Internet) -> None:
        async with wire(resolver=names, reach=()) as fetch:
            text = await refusal(fetch(Request("http://intranet.corp/", site="http://intranet.corp", start=True)))
            assert text.startswith("intranet.corp (10.1.2.3): the address is private")
            text = await refusal(fetch(Request("http://127.0.0.1/", site="http://127.0.0.1", start=True)))
            assert text.startswith("127.0.0.1: the address is loopback")
            assert net.asked == []

    on_internet(main)


def test_a_denied_network_is_refused_to_all(wire: Any) -> None:
    async def main(net: Internet) -> None:
        async with wire(resolver=names, reach=("start", "!93.184.216.0/24")) as fetch:
            assert await refusal(fetch(Request(SITE, site=SITE, start=True))) == (
                "shop.example (93.184.216.34): the address is denied"
            )

    on_internet(main)


def test_a_bad_word_fails_its_request_only(wire: Any) -> None:
    async def main(net: Internet) -> None:
        async with wire() as fetch:
            with pytest.raises(FetchError, match=r"^http://127.0.0.1/: not a network such as 10.0.0.0/8, nor one of"):
                await fetch(Request("http://127.0.0.1/", reach=("10.0.0.0-10.1.0.0",)))

    on_internet(main)


def test_a_name_without_an_address_is_asked_for_once_and_told_as_ever(wire: Any) -> None:
    async def main(net: Internet) -> None:
        made = names()
        async with wire(resolver=lambda: made) as fetch:
            with pytest.raises(ResolveError, match=r"^http://gone.example/: the host gone.example has no address"):
                await fetch(Request("http://gone.example/", site="http://gone.example", start=True))
            assert made.asked == ["gone.example"]
            # A page of a site whose own name is gone meanwhile is a page like others.
            await refusal(fetch(Request("http://10.0.0.1/", site="http://gone.example")))

    on_internet(main)


def test_a_resolver_that_does_not_answer_is_timed_out(wire: Any) -> None:
    class Silent(Names):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
            await asyncio.Event().wait()
            return []

    async def main(net: Internet) -> None:
        async with wire(resolver=Silent, timeout=0.02) as fetch:
            with pytest.raises(FetchTimeout, match=r"^http://shop.example/: no complete answer within 0.02 s$"):
                await fetch(Request(SITE + "/", site=SITE))

    on_internet(main)


def test_a_request_through_a_proxy_may_use_a_private_proxy_and_name_no_private_address() -> None:
    async def main(net: Internet) -> None:
        made = names()
        reaching = Reaching(LocalRun(net), "start", Lookup(made))
        proxied = Request(SITE + "/", site=SITE, proxy="http://10.0.0.1:3128")
        assert reaching.knows(proxied)
        assert reaching.of(proxied) == ANY
        assert made.asked == []
        for url in ("http://127.0.0.1/", "http://localhost/", "http://[::ffff:a00:1]/", "http://169.254.169.254/"):
            with pytest.raises(AddressRefused, match="this request may not reach it"):
                reaching.of(proxied.replace(url=url))
        assert reaching.of(proxied.replace(url="http://127.0.0.1/", site="http://localhost")) == ANY
        assert reaching.of(proxied.replace(url="http://127.0.0.1/", reach=("127.0.0.0/8",))) == ANY

    on_internet(main)


class Lookup:
    def __init__(self, resolver: Names) -> None:
        self._resolver = resolver

    async def addresses(self, name: str) -> list[str]:
        return [each["host"] for each in await self._resolver.resolve(name)]


class DurableRun(LocalRun):
    """A run with a job, of which only this is asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kept: dict[str, Any]) -> None:
        super().__init__(loop)
        self.durable = True
        self.kept = kept

    def state(self, name: str) -> dict[str, Any]:
        kept: dict[str, Any] = self.kept.setdefault(name, {})
        return kept


def test_a_job_knows_its_sites_when_it_goes_on() -> None:
    async def main(net: Internet) -> None:
        kept: dict[str, Any] = {}
        made = names()
        first = Reaching(DurableRun(net, kept), "start", Lookup(made))
        for host in ("http://shop.example", "http://intranet.corp:8080", "http://127.0.0.1"):
            start = Request(host + "/", site=host, start=True)
            if not first.knows(start):
                await first.learn(start)
        assert kept == {STATE: {"shop.example": 0, "intranet.corp": 1}}
        # The attacker's name leads to a private network when the job is resumed, the intranet's cannot be looked up.
        made.names = {"shop.example": ("10.0.0.1",)}
        again = Reaching(DurableRun(net, kept), "start", Lookup(made))
        for site, words in (("http://shop.example", ()), ("http://intranet.corp:8080", ("private",))):
            request = Request("http://10.0.0.1/", site=site)
            assert again.knows(request)
            assert again.of(request) == words

    on_internet(main)


def test_what_is_remembered_of_sites_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcrawl.transport.reach.SITES", 100)

    async def main(net: Internet) -> None:
        made = Names(corp=["10.0.0.1"], **{f"s{n}_example": [PUBLIC] for n in range(1000)})
        run = LocalRun(net)
        reaching = Reaching(run, "start", Lookup(made))

        async def ask(host: str, *, start: bool) -> tuple[str, ...]:
            request = Request(host + "/", site=host, start=start)
            if not reaching.knows(request):
                await reaching.learn(request)
            return reaching.of(request)

        assert await ask("http://corp", start=True) == ("private",)
        for n in range(1000):
            assert await ask(f"http://s{n}.example", start=True) == ()
            assert len(run.state(STATE)) <= 100
        assert await ask("http://corp", start=False) == ("private",), "private sites are kept"
        # A name that was forgotten, and leads elsewhere by now, opens nothing to a link of its pages …
        made.names["s1.example"] = ("10.0.0.1",)
        assert await ask("http://s1.example", start=False) == ()
        # … though it may be started anew.
        assert await ask("http://s1.example", start=True) == ("private",)

    on_internet(main)
    assert SITES >= 10_000


def test_without_a_resolver_nothing_is_asked_and_everything_allowed() -> None:
    """A transport of the user's own connects where it likes."""

    async def main(net: Internet) -> None:
        reaching = Reaching(LocalRun(net))
        request = Request("http://10.0.0.1/", site=SITE)
        assert reaching.knows(request)
        assert reaching.of(request) == ANY

    on_internet(main)


def test_no_socket_is_made_for_an_address_that_was_not_permitted(serve: Any) -> None:
    """Whatever a resolver or a cache may say: the last check is of the address that is connected to."""

    async def main(net: Internet) -> None:
        async with serve(OK) as server:
            session = make_session(("10.0.0.0/8",))
            try:
                async with session.get(f"http://10.0.0.1:{server.port}/") as response:
                    assert response.status == 200
                with pytest.raises(AddressRefused, match=r"^127\.0\.0\.1: the address is loopback"):
                    await session.get(f"http://127.0.0.1:{server.port}/")
                assert net.asked == ["10.0.0.1"]
            finally:
                await session.close()

    on_internet(main)


def test_http_2_is_guarded_too(wire: Any, serve: Any, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    async def main(net: Internet) -> None:
        made = names(mixed_example=["10.0.0.1", PUBLIC])
        async with (
            serve(OK, tls=server_tls(authority)) as server,
            wire(http2=True, verify=trusting, resolver=lambda: made) as fetch,
        ):
            secure = SITE.replace("http:", "https:")
            for host in ("shop.example", "mixed.example"):
                assert (await fetch(Request(f"https://{host}:{server.port}/", site=secure))).body == b"ok"
            for host in ("intranet.corp", "10.0.0.1", "[::ffff:10.0.0.1]", "169.254.169.254"):
                await refusal(fetch(Request(f"https://{host}:{server.port}/", site=secure)))
            own = f"https://intranet.corp:{server.port}"
            assert (await fetch(Request(own, site=own, start=True))).body == b"ok"
            # The connection that is open now is not lent to the public site.
            await refusal(fetch(Request(own, site=secure)))
            assert net.asked == [PUBLIC, PUBLIC, "10.1.2.3"]
            assert len(server.seen) == 3

    on_internet(main)


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate = authority.issue_cert("shop.example", "mixed.example", "intranet.corp")
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL's
    return context


@pytest.mark.parametrize("url", ["file:///etc/hostname", "FILE:///etc/hostname"])
def test_the_web_leads_to_no_file(wire: Any, url: str, tmp_path: Any) -> None:
    async def main() -> None:
        async with wire() as fetch:
            for request in (
                Request(url, site=SITE),
                Request(url, site=SITE, dont_filter=True),
                nested(Request(url), Request(SITE, site=SITE, start=True)),
                nested(Request(url), Request(SITE)),
                Request(url, via=(SITE + "/",)),
            ):
                assert "the web, here http://shop.example, does not lead there" in await refusal(fetch(request))
            assert (await fetch(Request("data:,x", site=SITE))).body == b"x"
            page = tmp_path / "page.txt"
            page.write_bytes(b"mine")
            for request in (Request(page.as_uri()), Request(page.as_uri(), site="file://")):
                assert (await fetch(request)).body == b"mine"
            assert (await fetch(Request(page.as_uri(), site=SITE, reach=("any",)))).body == b"mine"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"reach": "10.0.0.1/8"}, ValueError, "not a network such as"),
        ({"reach": ["10.0.0.0/8", "somewhere"]}, ValueError, "'somewhere'"),
        ({"resolver": 3}, TypeError, "resolver=3: a function that makes"),
        ({"transport": dict, "resolver": Names}, ValueError, "no effect on a transport of your own"),
        ({"transport": dict, "reach": "any"}, ValueError, "no effect on a transport of your own"),
    ],
)
def test_arguments_of_the_wire_are_checked_when_built(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Wire(**options)


def test_the_wire_takes_one_word_or_several() -> None:
    assert (Wire().reach, Wire(reach="any").reach, Wire(reach=("any", "!10.0.0.0/8")).reach) == (
        ("start",),
        ("any",),
        ("any", "!10.0.0.0/8"),
    )
