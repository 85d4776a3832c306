"""Odd links: what becomes of each, by an extractor and by follow_all alike."""

from __future__ import annotations

import pytest

from links.oddities import ODDITIES, PAGE, Odd
from streamcrawl import Headers, Response
from streamcrawl.errors import InvalidURL
from streamcrawl.links import LinkExtractor
from streamcrawl.urls import normalize


def page(odd: Odd) -> Response:
    headers = Headers({"Content-Type": f"text/html; charset={odd.encoding}"})
    return Response(PAGE, headers=headers, body=odd.html.encode(odd.encoding))


def is_link(url: str) -> bool:
    try:
        return normalize(url) == url and url.startswith(("http://", "https://", "ftp://", "file://"))
    except InvalidURL:
        return False


@pytest.mark.parametrize("odd", ODDITIES, ids=lambda odd: odd.html[:60])
def test_what_is_extracted_of_an_odd_link(odd: Odd) -> None:
    assert [link.url for link in LinkExtractor().extract_links(page(odd))] == odd.urls


@pytest.mark.parametrize("odd", ODDITIES, ids=lambda odd: odd.html[:60])
def test_follow_all_leads_where_the_extractor_does(odd: Odd) -> None:
    response = page(odd)
    everything = LinkExtractor(deny_extensions=(), unique=False).extract_links(response)
    assert [url for url in (request.url for request in response.follow_all()) if is_link(url)] == [
        link.url for link in everything
    ]
    assert [request.url for request in response.follow_all(LinkExtractor())] == odd.urls


def test_every_difference_from_scrapy_has_its_reason() -> None:
    assert [odd.html for odd in ODDITIES if (odd.scrapy is None) != (odd.why == "")] == []
    assert [odd.html for odd in ODDITIES if odd.scrapy == odd.urls] == []
