"""url_length: how long the URL of a link may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.testing import FakeFetch, run_virtual

URL = "http://a.test/"


def crawled(*layers: Any, links: list[str], start: Any = URL) -> Any:
    """(URLs of the pages, the summary) of a crawl whose first page has these links."""

    def parse(page: Response) -> Iterator[Any]:
        yield {"url": page.url}
        if page.url == URL:
            yield from page.follow_all(links)

    async def answer(request: Request) -> Response:
        return Response(request.url, request=request)

    items: list[Any] = []
    crawl = Crawl(start).pipe(
        ops.download(*ops.default_layers(robots_txt=None), fetch=answer), ops.scrape(parse, *layers)
    )

    async def main() -> Any:
        return await crawl.start(on_item=items.append)

    summary = run_virtual(main)
    assert summary.balanced
    return {item["url"] for item in items}, summary


def of_length(length: int) -> str:
    return URL + "x" * (length - len(URL))


@pytest.mark.parametrize(("layers", "limit"), [((), 2083), ((ops.url_length(100),), 100), ((ops.url_length(0),), None)])
def test_longer_links_are_dropped_and_counted(layers: Any, limit: int | None) -> None:
    lengths = [50, 100, 101, 2083, 2084, 9000]
    urls, summary = crawled(*layers, links=[of_length(length) for length in lengths])
    short = [length for length in lengths if limit is None or length <= limit]
    assert urls == {URL, *(of_length(length) for length in short)}
    refused = len(lengths) - len(short)
    assert summary.counts.dropped == ({"URL too long": refused} if refused else {})
    assert summary.stats.get("urllength/request_ignored_count", 0) == refused


def test_start_requests_too() -> None:
    urls, summary = crawled(links=[], start=[URL, of_length(2084)])
    assert urls == {URL}
    assert summary.counts.dropped == {"URL too long": 1}
    assert summary.counts.offered.start == 2


def test_a_data_url_is_the_document_itself() -> None:
    def size(page: Response) -> dict[str, int]:
        return {"size": len(page.url)}

    site = FakeFetch({})
    url = "DATA:text/html," + "x" * 3000

    async def answer(request: Request) -> Response:
        return await site(request) if request.url.startswith("http") else Response(request.url, request=request)

    crawl = Crawl(url).pipe(ops.download(fetch=answer), ops.scrape(size))
    assert run_virtual(crawl.collect()) == [{"size": len(url)}]


def test_arguments_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match="limit=-1"):
        ops.url_length(-1)
