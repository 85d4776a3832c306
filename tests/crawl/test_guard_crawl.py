"""Whole crawls that somebody tries to lead into a private network: pages, redirects, pictures, names that turn."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from internet import Internet, Names, on_internet
from PIL import Image

from streamcrawl import Crawl, Failed, Request, Response, Summary, fetch
from streamcrawl import operators as ops
from streamcrawl.core import Layer
from streamcrawl.errors import AddressRefused, Drop
from streamcrawl.testing import site
from streamcrawl.testing.site_server import Answer, Arrival, Reply
from streamcrawl.transport import Wire

PUBLIC = "93.184.216.34"
SECRET = "the secret"

EVIL = [
    "http://127.0.0.1:{port}/secret",
    "http://localhost:{port}/secret",
    "http://10.0.0.1:{port}/secret",
    "http://intranet.corp:{port}/secret",
    "http://169.254.169.254:{port}/secret",
    "http://2130706433:{port}/secret",
    "http://0x7f.1:{port}/secret",
    "http://[::ffff:127.0.0.1]:{port}/secret",
    "http://[::1]:{port}/secret",
    "http://0:{port}/secret",
]


class Web:
    """What a server on this machine answers to whoever comes, whatever the host's name; and who came."""

    def __init__(self, **pages: Reply) -> None:
        self.pages: dict[str, Reply] = {"/secret": SECRET, **{f"/{name}": page for name, page in pages.items()}}
        self.hosts: list[str] = []

    def __call__(self, arrival: Arrival) -> Reply:
        host = arrival.headers["host"].rpartition(":")[0]
        self.hosts.append(f"{host}{arrival.path}")
        return self.pages.get(arrival.path, Answer("none", 404))


def at(target: str) -> Answer:
    return Answer(status=302, headers={"Location": target})


def names() -> Names:
    return Names(shop_example=[PUBLIC], other_example=["8.8.8.8"], intranet_corp=["10.1.2.3"], localhost=["127.0.0.1"])


def failed(failure: Any) -> dict[str, str]:
    error = failure.error if isinstance(failure, Failed) else failure
    return {"url": failure.request.url, "failed": type(error).__name__}


async def follow(page: Response) -> AsyncIterator[Any]:
    yield {"url": page.url, "text": page.text}
    for link in page.follow_all(css="a"):
        yield link


async def crawl(start: Any, *pipe: Any, made: Names | None = None, **options: Any) -> tuple[Summary, list[Any]]:
    """A crawl with the layers that it has by default."""
    wire = Wire(resolver=lambda: made or names())
    flow = Crawl(start, scope="any", **options).pipe(
        ops.download(fetch=wire), *(pipe or (ops.scrape(follow, errback=failed),))
    )
    items: list[Any] = []
    return await flow.start(on_item=items.append), items


def private(net: Internet) -> set[str]:
    """The addresses that were connected to and should not have been."""
    return set(net.asked) - {PUBLIC, "8.8.8.8"}


@pytest.mark.parametrize("target", EVIL)
def test_ssrf_by_a_link(target: str) -> None:
    async def main(net: Internet) -> None:
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            url = target.format(port=port)
            web.pages["/"] = f'<a href="{url}">look</a>'
            summary, items = await crawl(f"http://shop.example:{port}/")
            assert [item.get("failed", "page") for item in items] == ["page", "AddressRefused"]
            assert private(net) == set()
            assert not any("secret" in host for host in web.hosts)
            assert (summary.ok, summary.balanced) == (True, True)
            assert summary.failed == 2, "the page, and the robots.txt that was asked for first"

    on_internet(main)


@pytest.mark.parametrize("target", EVIL)
def test_ssrf_by_a_redirect(target: str) -> None:
    async def main(net: Internet) -> None:
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            web.pages["/"] = at(f"http://other.example:{port}/hop")
            web.pages["/hop"] = at(target.format(port=port))
            _, items = await crawl(f"http://shop.example:{port}/")
            assert [item["failed"] for item in items] == ["AddressRefused"]
            assert private(net) == set()
            assert "other.example/hop" in web.hosts

    on_internet(main)


def test_ssrf_by_a_redirect_of_robots_txt() -> None:
    async def main(net: Internet) -> None:
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            web.pages["/robots.txt"] = at(f"http://127.0.0.1:{port}/secret")
            web.pages["/"] = "home"
            await crawl(f"http://shop.example:{port}/")
            assert private(net) == set()
            assert "shop.example/robots.txt" in web.hosts

    on_internet(main)


def test_ssrf_by_the_url_of_a_picture(tmp_path: Path) -> None:
    async def main(net: Internet) -> None:
        file = BytesIO()
        Image.new("RGB", (8, 8), "red").save(file, "PNG")
        web = Web()
        web.pages["/p.png"] = Answer(file.getvalue(), headers={"Content-Type": "image/png"})
        mine = tmp_path / "mine.png"
        mine.write_bytes(file.getvalue())
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            web.pages["/"] = "home"
            wanted = [f"http://{host}:{port}/p.png" for host in ("shop.example", "10.0.0.1", "intranet.corp", "[::1]")]
            wanted += [mine.as_uri(), f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"]

            def parse(page: Response) -> dict[str, Any]:
                return {"image_urls": wanted}

            sink = ops.images(str(tmp_path / "store"))
            _, (item,) = await crawl(f"http://shop.example:{port}/", ops.scrape(parse), sink)
            assert [report["status"] for report in item["images"]] == ["downloaded", *["failed"] * 4, "downloaded"]
            assert all("may not reach it" in report["error"] for report in item["images"][1:4])
            assert "does not lead there" in item["images"][4]["error"]
            assert private(net) == set()

    on_internet(main)


def test_ssrf_by_what_a_callback_fetches(tmp_path: Path) -> None:
    async def main(net: Internet) -> None:
        mine = tmp_path / "mine.txt"
        mine.write_text("mine")
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            web.pages["/"] = "home"

            async def parse(page: Response) -> AsyncIterator[Any]:
                for url in (f"http://10.0.0.1:{port}/secret", f"http://intranet.corp:{port}/secret", mine.as_uri()):
                    try:
                        yield {"text": (await fetch(url)).text}
                    except (AddressRefused, Drop) as error:
                        yield {"refused": type(error).__name__}
                # Whose word it is can be said.
                yield {"text": (await fetch(Request(f"http://10.0.0.1:{port}/secret", reach=("10.0.0.0/8",)))).text}

            _, items = await crawl(f"http://shop.example:{port}/", ops.scrape(parse))
            assert items == [{"refused": "AddressRefused"}] * 3 + [{"text": SECRET}]
            assert private(net) == {"10.0.0.1"}

    on_internet(main)


def test_ssrf_by_dns_rebinding_between_two_pages() -> None:
    async def main(net: Internet) -> None:
        made = names()
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]

            def home(arrival: Arrival) -> Reply:
                made.names["shop.example"] = ("127.0.0.1",)
                return Answer('<a href="/secret">next</a>', headers={"Connection": "close"})

            web.pages["/robots.txt"] = Answer("", 404, headers={"Connection": "close"})
            server.routes = {"/": home, "*": web}

            async def parse(page: Response) -> AsyncIterator[Any]:
                yield {"url": page.url}
                forget_names(made_by)
                for link in page.follow_all(css="a"):
                    yield link

            made_by: list[Any] = []
            flow = Crawl(f"http://shop.example:{port}/").pipe(
                ops.download(fetch=Watched(made, made_by)), ops.scrape(parse, errback=failed)
            )
            items: list[Any] = []
            await flow.start(on_item=items.append)
            assert [item.get("failed", "page") for item in items] == ["page", "AddressRefused"]
            assert set(net.asked) == {PUBLIC}
            assert made.asked == ["shop.example"] * 2

    on_internet(main)


class Watched:
    """A Wire whose opened form a test gets hold of."""

    def __init__(self, made: Names, opened: list[Any]) -> None:
        self._wire = Wire(resolver=lambda: made)
        self._opened = opened

    def open(self, run: Any) -> Any:
        self._opened.append(self._wire.open(run))
        return self._opened[-1]


def forget_names(opened: list[Any]) -> None:
    """As if the time that an answer of the resolver serves were over."""
    for transport in opened[0]._by_opener.values():
        transport._names._found.clear()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "intranet.corp", "10.9.8.7"])
def test_a_crawl_of_one_s_own_network_goes_where_it_leads(host: str) -> None:
    async def main(net: Internet) -> None:
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            web.pages["/"] = f'<a href="/moved">a</a> <a href="http://10.0.0.1:{port}/secret">b</a>'
            web.pages["/moved"] = at(f"http://192.168.1.1:{port}/secret")
            summary, items = await crawl(f"http://{host}:{port}/")
            assert [item.get("failed", "page") for item in items] == ["page"] * 3
            assert [item["text"] for item in items[1:]] == [SECRET] * 2
            assert web.hosts[0] == f"{host}/robots.txt"
            assert summary.failed == 0

    on_internet(main)


def test_a_public_and_a_private_start_in_one_run() -> None:
    """What the one may is not lent to the other: no connection, no robots.txt that came for it."""

    async def main(net: Internet) -> None:
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            intranet, shop = f"http://intranet.corp:{port}", f"http://shop.example:{port}"
            web.pages["/"] = f'<a href="{intranet}/secret">a</a>'
            web.pages["/page"] = "own"

            async def starts() -> AsyncIterator[str]:
                yield intranet + "/page"
                while "intranet.corp/page" not in web.hosts:
                    await asyncio.sleep(0.01)
                yield shop + "/"

            _, items = await crawl(starts())
            assert {item["url"]: item.get("failed", "page") for item in items} == {
                intranet + "/page": "page",
                shop + "/": "page",
                intranet + "/secret": "AddressRefused",
            }
            assert "intranet.corp/secret" not in web.hosts

    on_internet(main)


def test_a_job_that_goes_on_knows_what_it_was_started_on(tmp_path: Path) -> None:
    async def main(net: Internet) -> None:
        made = names()
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            intranet, shop = f"http://intranet.corp:{port}", f"http://shop.example:{port}"
            web.pages["/"] = '<a href="/secret">a</a>'
            options: dict[str, Any] = {"job": str(tmp_path / "job"), "made": made}
            start = [intranet + "/", shop + "/"]
            first, _ = await crawl(start, limit_pages=2, concurrency=1, **options)
            assert (first.pages, first.waiting) == (2, 2)
            # Meanwhile the name of the shop was turned to the network that the other start is on.
            made.names["shop.example"] = ("10.1.2.3",)
            net.asked.clear()
            _, items = await crawl(start, **options)
            assert {item["url"]: item.get("failed", "page") for item in items} == {
                intranet + "/secret": "page",
                shop + "/secret": "AddressRefused",
            }
            assert "shop.example/secret" not in web.hosts

    on_internet(main)


def test_a_guard_among_the_layers_drops_what_the_url_tells() -> None:
    async def main(net: Internet) -> None:
        web = Web()
        with site.serve(web) as server:
            port = server.url.rpartition(":")[2]
            web.pages["/"] = f'<a href="http://127.0.0.1:{port}/secret">a</a> <a href="http://shop.example:25/">b</a>'
            layers: tuple[Layer, ...] = (ops.guard(allow="start"), *ops.default_layers(retry=None))
            flow = Crawl(f"http://shop.example:{port}/", scope="any").pipe(
                ops.download(*layers, fetch=Wire(resolver=names)), ops.scrape(follow)
            )
            summary = await flow.start()
            assert summary.counts.dropped == {"refused address": 1, "refused port": 1}
            assert (summary.pages, summary.failed) == (1, 0)
            assert summary.stats["guard/refused_address"] == summary.stats["guard/refused_port"] == 1

    on_internet(main)
