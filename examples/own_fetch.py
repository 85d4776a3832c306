"""Pages brought by a client of one's own: any `async (Request) -> Response` will do.

Run it: streamcrawl run examples/own_fetch.py -O quotes.jsonl
The layers stay what they are: robots.txt, retries, redirects and cookies work the same over this fetch.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from streamcrawl import Crawl, Headers, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import Run
from streamcrawl.errors import ConnectError, FetchTimeout

START = os.environ.get("START_URL", "https://quotes.toscrape.com/")


@dataclass(frozen=True, slots=True)
class Httpx:
    """A fetch that has something to close is described by an object with `open`; it is opened once a run."""

    user_agent: str = "quotes-example/1.0"

    def open(self, run: Run) -> "OpenHttpx":
        return OpenHttpx(httpx.AsyncClient(headers={"User-Agent": self.user_agent}))


@dataclass(frozen=True, slots=True)
class OpenHttpx:
    client: httpx.AsyncClient

    async def __call__(self, request: Request) -> Response:
        fields, seconds = request.headers.pairs(), request.timeout or 30
        try:
            answer = await self.client.request(
                request.method, request.url, headers=fields, content=request.body, timeout=seconds
            )
        except httpx.HTTPError as error:  # told in the words of streamcrawl.errors, it is worth a retry
            kind = FetchTimeout if isinstance(error, httpx.TimeoutException) else ConnectError
            raise kind(f"{request.url}: {error}") from error
        return Response(request.url, answer.status_code, Headers(answer.headers.multi_items()), answer.content)

    async def aclose(self) -> None:
        await self.client.aclose()


def parse(page: Response) -> Iterator[Any]:
    for quote in page.css("div.quote"):
        yield {"text": quote.css("span.text::text").get(), "author": quote.css("small.author::text").get()}
    yield from page.follow_all(css="li.next a")


crawl = Crawl(START).pipe(ops.download(fetch=Httpx()), ops.scrape(parse))

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("quotes.jsonl")).run())
