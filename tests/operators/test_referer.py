"""referer: which page a link says that it comes from. The policies themselves: test_referrer.py."""

from __future__ import annotations

import asyncio

import pytest

from streamcrawl.core import Failed, Request, ScrapeInput, Start
from streamcrawl.errors import HttpError
from streamcrawl.headers import Headers
from streamcrawl.operators.referer import referer
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.scrape_layer import NamedScrapeLayer

PAGE = "https://a.example/page?q#top"
SAME, OTHER = "https://a.example/next", "https://b.example/"


def told(layer: NamedScrapeLayer, link: Request, page: ScrapeInput) -> Request:
    loop = asyncio.new_event_loop()
    try:
        hook = layer.make(LocalRun(loop)).request
    finally:
        loop.close()
    assert hook is not None
    made = hook(link, page)
    assert isinstance(made, Request)
    return made


def page(policy: str | None = None) -> Response:
    return Response(PAGE, headers=Headers({"Referrer-Policy": policy} if policy is not None else {}))


@pytest.mark.parametrize(
    ("policy", "said_by_page", "target", "referrer"),
    [
        (None, None, SAME, "https://a.example/page?q"),
        (None, None, OTHER, "https://a.example/"),
        (None, None, "http://a.example/", None),
        ("no-referrer", None, SAME, None),
        ("unsafe-url", None, "http://b.example/", "https://a.example/page?q"),
        ("no-referrer", "origin", SAME, "https://a.example/"),
        ("unsafe-url", "no-referrer", SAME, None),
        ("same-origin", "unheard-of", OTHER, None),
        (None, "no-referrer, unsafe-url, unheard-of", OTHER, "https://a.example/page?q"),
        ("origin", "", SAME, "https://a.example/"),
    ],
)
def test_policy(policy: str | None, said_by_page: str | None, target: str, referrer: str | None) -> None:
    layer = referer() if policy is None else referer(policy)
    link = Request(target, meta={"mine": 1})
    made = told(layer, link, page(said_by_page))
    assert made.referrer == referrer
    assert (made.url, made.meta, link.referrer) == (target, {"mine": 1}, None)


@pytest.mark.parametrize(
    "link",
    [
        Request(SAME, headers=Headers({"referer": "https://elsewhere.example/"})),
        Request(SAME, referrer="https://elsewhere.example/"),
    ],
)
def test_your_own_is_kept(link: Request) -> None:
    assert told(referer(), link, page()) is link


def test_without_a_page_there_is_none() -> None:
    link = Request(SAME)
    assert told(referer(), link, Start()) is link
    assert told(referer(), link, Failed(Request(PAGE), HttpError(404, PAGE))) is link


def test_arguments_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match=r"'sometimes'.*strict-origin"):
        referer("sometimes")
