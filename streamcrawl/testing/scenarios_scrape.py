"""What the contract checker puts into a scrape layer: pages, and callbacks of all kinds for them."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator
from random import Random
from typing import Any

from streamcrawl.core import Dropped, Failed, Request, ScrapeInput
from streamcrawl.errors import ConnectError, Drop
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import Chunks, page

SITE = "http://a.example"
MANY = 200
"""Outputs of the longest page."""


class Callbacks:
    """A callback that does something else for each page, and an errback."""

    def __init__(self) -> None:
        self.pulled = 0
        """Outputs that long pages were asked for."""
        self.links: list[tuple[Request, dict[str, Any]]] = []
        """Every link that was given, and its meta as it was then."""

    def keep(self, link: Request) -> Request:
        """Note a link, to see later whether it was changed."""
        self.links.append((link, copy.deepcopy(link.meta)))
        return link

    def _outputs(self, response: Response) -> Iterator[Any]:
        yield {"of": response.url, "n": 0}
        for url in ("/a", "/a?b=1#c", "/known", "http://elsewhere.example/", "/" + "x" * 3000, "mailto:a@b.example"):
            yield self.keep(Request(response.urljoin(url), meta={"user": 1}))
        yield self.keep(response.follow("/skips", skip=("depth", "referer"), errback=self.errback, dont_filter=True))
        yield self.keep(response.follow("/quiet", referrer_policy="no-referrer"))
        yield self.keep(response.request.replace(url=f"{SITE}/copied"))
        yield None
        yield {"of": response.url, "n": 1}
        yield {"of": response.url, "n": 2}

    async def _later(self, response: Response) -> AsyncIterator[Any]:
        for output in self._outputs(response):
            await asyncio.sleep(0.1)
            yield output

    def _breaking(self, response: Response) -> Iterator[Any]:
        yield from self._outputs(response)
        raise KeyError("broken")

    async def _breaking_later(self, response: Response) -> AsyncIterator[Any]:
        async for output in self._later(response):
            yield output
        raise KeyError("broken")

    def _many(self, response: Response) -> Iterator[Any]:
        for n in range(MANY):
            self.pulled += 1
            yield {"of": response.url, "n": n}

    async def _many_later(self, response: Response) -> AsyncIterator[Any]:
        for output in self._many(response):
            await asyncio.sleep(0.01)
            yield output

    async def _coroutine(self, response: Response) -> Any:
        await asyncio.sleep(1.0)
        return list(self._outputs(response))

    def _at_once(self, response: Response) -> None:
        raise Drop("nothing here")

    def errback(self, outcome: Failed | Dropped) -> Iterator[Any]:
        """What an errback gives."""
        yield {"lost": outcome.request.url}
        yield self.keep(Request(f"{SITE}/instead"))

    def callback(self, response: Response) -> Any:
        """What the callback of this page gives, in one of all the ways."""
        kinds: dict[str, Callable[[Response], Any]] = {
            "/later": self._later,
            "/breaks": self._breaking,
            "/breaks/later": self._breaking_later,
            "/many": self._many,
            "/many/later": self._many_later,
            "/coroutine": self._coroutine,
            "/at_once": self._at_once,
            "/list": lambda response: list(self._outputs(response)),
            "/one": lambda response: {"of": response.url, "n": 0},
            "/none": lambda response: None,
            "/wrong": lambda response: [{"of": response.url, "n": 0}, 5],
        }
        kind = kinds.get(response.url.removeprefix(SITE))
        return self._outputs(response) if kind is None else kind(response)


def page_at(path: str, status: int = 200, **options: Any) -> Response:
    """A page of the site."""
    request = Request(SITE + path, site=SITE, **options)
    return page("<p>text</p>", status=status).replace(url=request.url, request=request)


def pages(chance: Random) -> list[ScrapeInput]:
    """Pages for callbacks of all kinds, and what goes to errbacks, in an order by chance."""
    paths = ("later", "breaks", "breaks/later", "coroutine", "at_once", "list", "one", "none", "wrong", "many", "plain")
    inputs: list[ScrapeInput] = [page_at(f"/{path}", depth=chance.randint(0, 3)) for path in paths]
    inputs += [page_at(f"/status/{status}", status) for status in (199, 201, 304, 404, 500)]
    inputs += [page_at("/wanted", 404, statuses=(404,)), page_at("/moved", via=(f"{SITE}/old",), attempt=1)]
    inputs += [page_at("/policy").replace(headers=page(headers={"Referrer-Policy": "origin"}).headers)]
    inputs += [page_at("/streamed").replace(body=b"", stream=Chunks(b"text")), page_at("/start", start=True)]
    inputs += [Failed(Request(f"{SITE}/down"), ConnectError("refused")), Dropped(Request(f"{SITE}/out"), "robots.txt")]
    chance.shuffle(inputs)
    return inputs
