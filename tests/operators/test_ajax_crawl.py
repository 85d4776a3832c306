"""ajax_crawl: where the snapshot is asked for, and where not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from through import through

from streamcrawl.core import Again, Dropped, Failed, Outcome, Request
from streamcrawl.headers import Headers
from streamcrawl.hops import TooManyRedirects
from streamcrawl.operators.ajax_crawl import ajax_crawl, snapshot_url
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch, page

URL = "https://a.example/page"
HTML = Headers({"Content-Type": "text/html"})
OFFER = '<meta name="fragment" content="!">'


def made(body: str = OFFER, url: str = URL, **request: Any) -> Response:
    return Response(url, 200, HTML, f"<html><head>{body}</head></html>".encode(), Request(url).replace(**request))


def hooks(layer: NamedLayer | None = None) -> Hooks:
    loop = asyncio.new_event_loop()
    try:
        return (layer or ajax_crawl()).make(LocalRun(loop))
    finally:
        loop.close()


def up(outcome: Outcome, layer: NamedLayer | None = None) -> Any:
    hook = hooks(layer).up
    assert hook is not None
    result = hook(outcome)
    assert not isinstance(result, Awaitable)
    return result


def down(request: Request, layer: NamedLayer | None = None) -> Any:
    hook = hooks(layer).down
    assert hook is not None
    return hook(request)


@pytest.mark.parametrize(
    ("url", "snapshot"),
    [
        ("https://a.example/", "https://a.example/?_escaped_fragment_="),
        ("https://a.example/?q=1", "https://a.example/?q=1&_escaped_fragment_="),
        ("https://a.example/#top", "https://a.example/?_escaped_fragment_="),
        ("https://a.example/#!", "https://a.example/?_escaped_fragment_="),
        ("https://a.example/#!a=1&b=+#%", "https://a.example/?_escaped_fragment_=a=1%26b=%2B%23%25"),
        ("https://a.example/#!a%20b%C3%A4%2", "https://a.example/?_escaped_fragment_=a%20b%C3%A4%252"),
    ],
)
def test_where_the_snapshot_is(url: str, snapshot: str) -> None:
    assert snapshot_url(url) == snapshot


def test_a_page_that_offers_one() -> None:
    again = up(made(priority=1))
    assert isinstance(again, Again)
    assert (again.hop, again.reason) == (True, "ajax crawl")
    following = again.next
    assert following.url == f"{URL}?_escaped_fragment_="
    assert (following.via, following.via_reasons, following.priority) == ((URL,), ("ajax crawl",), 3)


@pytest.mark.parametrize(
    "body",
    [
        "<META CONTENT='!' NAME=Fragment />",
        "x" * 30_000 + OFFER,
    ],
)
def test_however_it_is_written(body: str) -> None:
    assert isinstance(up(made(body)), Again)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_in_utf_16_too(encoding: str) -> None:
    headers = Headers({"Content-Type": f"text/html; charset={encoding}"})
    assert isinstance(up(made().replace(headers=headers, body=f"<head>{OFFER}</head>".encode(encoding))), Again)
    other = made().replace(headers=headers, body="<head><title>!</title>".encode(encoding))
    assert up(other) is other


@pytest.mark.parametrize(
    "outcome",
    [
        made("<p>fragment"),
        made('<meta name="fragment" content="?">'),
        made(f"<!-- {OFFER} -->"),
        made(f"<noscript>{OFFER}</noscript>"),
        made(f"<script>'{OFFER}'</script>"),
        made("x" * 32_768 + OFFER),
        made().replace(status=404),
        made().replace(headers=Headers({"Content-Type": "text/plain"})),
        made().replace(body=b"", stream=Chunks(OFFER.encode())),
        made(method="POST"),
        made(max_redirects=0),
        made(url=f"{URL}?_escaped_fragment_="),
        made(url="file:///page"),
        Dropped(Request(URL), "robots.txt"),
    ],
)
def test_left_alone(outcome: Outcome) -> None:
    assert up(outcome) is outcome


def test_a_hash_bang_is_not_fetched_first() -> None:
    again = down(Request(f"{URL}#!state=1"))
    assert isinstance(again, Again)
    assert again.next.url == f"{URL}?_escaped_fragment_=state=1"
    for left in (Request(f"{URL}#top"), Request(f"{URL}#!x", method="POST"), Request("file:///a#!x")):
        assert down(left) is left


def test_it_is_asked_for_once() -> None:
    site = FakeFetch({"/page": page(OFFER), "/page?_escaped_fragment_=": page(OFFER + "snapshot")})
    outcomes = through(ajax_crawl(), to=[URL, f"{URL}#!"], fetch=site)
    assert [outcome.url for outcome in outcomes if isinstance(outcome, Response)] == [f"{URL}?_escaped_fragment_="] * 2
    assert sorted(site.urls) == [URL, *[f"{URL}?_escaped_fragment_="] * 2]


def test_its_hops_are_counted_with_the_others() -> None:
    failed = up(made(via=("https://a.example/1",)), ajax_crawl(times=1))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, TooManyRedirects)


@pytest.mark.parametrize(("arguments"), [{"max_size": 0}, {"times": -1}])
def test_arguments_are_checked_when_built(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"ajax_crawl.{next(iter(arguments))}="):
        ajax_crawl(**arguments)
