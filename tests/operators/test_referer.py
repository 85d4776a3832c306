"""referer: which page a link says that it comes from. The policies themselves: test_referrer.py."""

from __future__ import annotations

import asyncio
import builtins
import importlib
from typing import Any

import pytest

from streamcrawl import Crawl, fetch
from streamcrawl import operators as ops
from streamcrawl.core import Failed, Request, ScrapeInput, Start
from streamcrawl.errors import HttpError
from streamcrawl.events import Notice
from streamcrawl.headers import Headers
from streamcrawl.operators.referer import referer
from streamcrawl.referrer import declared_policies
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.scrape_layer import NamedScrapeLayer
from streamcrawl.testing import Answer, Chunks, FakeFetch, run_virtual
from streamcrawl.testing import page as a_page

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
    ("own", "said_by_page", "target", "referrer", "kept"),
    [
        ("no-referrer", "unsafe-url", SAME, None, "no-referrer"),
        ("unsafe-url", "no-referrer", "http://b.example/", "https://a.example/page?q", "unsafe-url"),
        (None, "same-origin", SAME, "https://a.example/page?q", "same-origin"),
        (None, "strict-origin-when-cross-origin", SAME, "https://a.example/page?q", None),
        (None, None, SAME, "https://a.example/page?q", None),
        ("strict-origin-when-cross-origin", "no-referrer", OTHER, "https://a.example/", None),
        ("", "origin", OTHER, "https://a.example/", "origin"),
        ("scrapy-default", None, "https://b.example/", "https://a.example/page?q", "scrapy-default"),
    ],
)
def test_the_requests_own_policy_comes_first_and_hops_are_told_of_it(
    own: str | None, said_by_page: str | None, target: str, referrer: str | None, kept: str | None
) -> None:
    made = told(referer(), Request(target, referrer_policy=own), page(said_by_page))
    assert (made.referrer, made.referrer_policy) == (referrer, kept if kept is not None else own)


META = "<title>see the referrer</title><meta name=referrer content={}>"


@pytest.mark.parametrize(
    ("meta", "header", "media", "referrer"),
    [
        ("no-referrer", None, "text/html", None),
        ("unsafe-url", "no-referrer", "text/html; charset=utf-8", "https://a.example/page?q"),
        ("unheard-of", "no-referrer", "text/html", None),
        ("no-referrer", "unsafe-url", "application/xml", "https://a.example/page?q"),
        ("no-referrer", None, "text/plain", "https://a.example/"),
        ("no-referrer", None, "application/json", "https://a.example/"),
    ],
)
def test_what_a_page_declares_goes_before_its_header(
    meta: str, header: str | None, media: str, referrer: str | None
) -> None:
    headers = {"Content-Type": media, **({"Referrer-Policy": header} if header else {})}
    body = META.format(meta).encode()
    if media == "text/plain":
        body = b'["<meta name=referrer content=no-referrer>"]'
    source = Response(PAGE, headers=Headers(headers), body=body)
    assert told(referer(), Request(OTHER), source).referrer == referrer
    assert source.referrer_policies.startswith(header or "")


def test_a_page_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    body = META.format("origin").encode()
    source = Response(PAGE, headers=Headers({"Content-Type": "text/html"}), body=body)
    layer = referer()
    looked: list[Any] = []

    def declared(root: Any) -> list[str]:
        looked.append(root)
        return declared_policies(root)

    monkeypatch.setattr("streamcrawl.response.declared_policies", declared)
    for _ in range(3):
        assert told(layer, Request(SAME), source).referrer == "https://a.example/"
    assert len(looked) == 1
    streamed = Response(PAGE, headers=Headers({"Content-Type": "text/html"}), stream=Chunks(body))
    assert told(layer, Request(SAME), streamed).referrer == "https://a.example/page?q"
    assert len(looked) == 1


def test_an_unknown_policy_of_a_request_counts_as_none_and_is_told_of_once() -> None:
    loop = asyncio.new_event_loop()
    run = LocalRun(loop)
    loop.close()
    notices: list[str] = []
    run.events.on(Notice, lambda event: notices.append(f"{event.level}: {event.text}"))
    hook = referer("origin").make(run).request
    assert hook is not None
    for _ in range(2):
        made = hook(Request(SAME, referrer_policy="os.remove"), page())
        assert (made.referrer, made.referrer_policy) == ("https://a.example/", "origin")
    assert notices == [f"warning: {SAME}: its referrer_policy 'os.remove' is unknown and counts as none"]


def always(page_url: str, target_url: str) -> str:
    return f"https://proxy.example/?{page_url}"


def never(page_url: str, target_url: str) -> None:
    return None


def test_a_function_may_be_the_policy() -> None:
    assert told(referer(always), Request(SAME), page()).referrer == f"https://proxy.example/?{PAGE}"
    assert told(referer(never), Request(SAME), page()).referrer is None
    assert told(referer(always), Request(SAME), page("origin")).referrer == "https://a.example/"


def test_policies_of_ones_own_by_name() -> None:
    layer = referer("mine", policies={"mine": always, "quiet": "no-referrer", "origin": never, "unsafe-url": None})
    assert told(layer, Request(SAME), page()).referrer == f"https://proxy.example/?{PAGE}"
    assert told(layer, Request(SAME, referrer_policy="quiet"), page("same-origin")).referrer is None
    assert told(layer, Request(SAME), page("origin")).referrer is None
    assert told(layer, Request(SAME), page("same-origin, unsafe-url")).referrer == "https://a.example/page?q"
    # A page has no say but in W3C's words.
    assert told(layer, Request(SAME), page("quiet")).referrer == f"https://proxy.example/?{PAGE}"


@pytest.mark.parametrize(
    "header", ["sys.exit", "os.abort", "streamcrawl.referrer.referrer_for", "tests.no_such_module"]
)
def test_a_header_is_never_imported(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Scrapy did up to 2.14.1: GHSA-cwxj-rr6w-m6w7."""

    asked: list[str] = []
    real = builtins.__import__

    def spy(name: str, *arguments: Any) -> Any:
        asked.append(name)
        return real(name, *arguments)

    link, layer, response = Request(OTHER), referer(), page(header)
    monkeypatch.setattr(importlib, "import_module", asked.append)
    monkeypatch.setattr(builtins, "__import__", spy)
    made = told(layer, link, response)
    monkeypatch.undo()
    assert made.referrer == "https://a.example/"
    assert [name for name in asked if name.partition(".")[0] == header.partition(".")[0]] == []


def test_on_a_redirect_the_policy_of_the_page_still_holds() -> None:
    site: dict[str, Answer] = {
        "https://a.example/": a_page(headers={"Referrer-Policy": "same-origin"}),
        "https://a.example/next": a_page(status=302, headers={"Location": "https://b.example/"}),
        "https://b.example/": "there",
    }
    sent: dict[str, str | None] = {}

    def parse(response: Response) -> Any:
        sent[response.url] = response.request.referrer
        if response.url == "https://a.example/":
            yield response.follow("/next", dont_filter=True)

    crawl = Crawl("https://a.example/", scope="any").pipe(ops.download(fetch=FakeFetch(site)), ops.scrape(parse))
    run_virtual(crawl.collect())
    assert sent["https://b.example/"] is None


def test_neither_start_requests_nor_what_is_fetched_within_a_page_have_one() -> None:
    site = FakeFetch({"/": a_page(links=["/1"]), "/1": "1", "/part": "of it"})

    async def parse(response: Response) -> Any:
        await fetch(response.urljoin("/part"))
        return response.follow_all(css="a")

    layers = ops.default_layers(robots_txt=None)
    crawl = Crawl("https://a.example/").pipe(ops.download(*layers, fetch=site), ops.scrape(parse))
    run_virtual(crawl.collect())
    assert {request.url: request.referrer for _, request in site.log} == {
        "https://a.example/": None,
        "https://a.example/part": None,
        "https://a.example/1": "https://a.example/",
    }


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
    with pytest.raises(ValueError, match=r"'unsafe-url'"):
        referer("unsafe-url", policies={"unsafe-url": None})
    with pytest.raises(ValueError, match=r"'mine': 'os\.path'"):
        referer(policies={"mine": "os.path"})
