"""A crawl of pages that are broken, or made to do harm: all is counted, nothing is fatal, time and memory are bounded.

The crawl runs in a process of its own, so that what it takes can be measured.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any, cast

import pytest
from benchmarks.measured import peak_rss

from streamcrawl import Crawl, Dropped, Failed, Headers, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.links import LinkExtractor
from streamcrawl.testing import FakeFetch, page, run_virtual

MB = 1_000_000
HOST = "http://hostile.test"


def html(body: bytes, content_type: str = "text/html; charset=utf-8") -> Response:
    return page(body, headers={"Content-Type": content_type})


def filled(unit: str, size: int = 10 * MB, head: str = "") -> Response:
    """A page of `size` bytes that consists of one thing, over and over."""
    return html((head + unit * (size // len(unit) + 1)).encode()[:size])


BROKEN: dict[str, Callable[[], Response]] = {
    "unclosed": lambda: html(
        b"<html><body><div><a href=/ok?1>one<a href='/ok?2'>two<b><i></b></a></table></html></body><p"
    ),
    "in a tag": lambda: html(b"<a href=/ok?3>x</a><a href='/ok?4"),
    "upside down": lambda: html(b"</a></body><a href=/ok?5></html><html><head><a href=/ok?6><title>"),
    "null bytes": lambda: html(b"<a\0 href=/ok?7>\0</a>\0<a href='/ok\0?8'>"),
    "noise": lambda: html(random.Random(5).randbytes(200_000)),
    "noise as xml": lambda: html(random.Random(6).randbytes(200_000), "text/xml"),
    "nothing": lambda: html(b""),
    "a bracket": lambda: html(b"<"),
    "no html": lambda: html(b'{"a": "<a href=/ok?9>"}', "application/json"),
    "broken json": lambda: html(b'{"a": [', "application/json"),
    "two documents": lambda: html(b"<!doctype html><a href=/ok?10>x</a></html><!doctype html><a href=/ok?11>x"),
    "entities": lambda: html(b"<a href='/ok?a=1&amp;b=2&copy=3&#0;&#xFFFFFFFF;&#xD800;&nosuch;'>&bogus;</a>"),
    "doctype bomb": lambda: html(
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
        + b"]><x><a href='/ok?12'>&j;</a></x>",
        "text/xml",
    ),
}
"""Pages that no validator would take."""

ENCODINGS: dict[str, Callable[[], Response]] = {
    "not what it says": lambda: html("<a href='/ok?я'>я</a>".encode("cp1251")),
    "no such encoding": lambda: html(b"<a href='/ok?13'>\xff</a>", "text/html; charset=no-such-thing"),
    "a codec of no characters": lambda: html(b"<a href='/ok?14'>", "text/html; charset=hex"),
    "utf-16 in ascii": lambda: html(b"<meta charset=utf-16><a href='/ok?15'>", "text/html"),
    "half a character": lambda: html("<a href='/ok?ä'>".encode()[:-3], "text/html; charset=utf-8"),
    "shift_jis": lambda: html("<a href='/ok?日本'>".encode("shift_jis"), "text/html; charset=shift_jis"),
    "mixed": lambda: html("<a href='/ok?ä'>".encode() + "<a href='/ok?ö'>".encode("latin-1")),
    "utf-7": lambda: html(b"+ADw-a href='/ok?16'+AD4-", "text/html; charset=utf-7"),
}
"""Pages whose characters are not what they are said to be."""

LARGE: dict[str, Callable[[], Response]] = {
    "100,000 levels": lambda: html(b"<div>" * 100_000 + b"<a href=/ok?20>deep</a>" + b"</div>" * 100_000),
    "10 MB of levels": lambda: filled("<div>"),
    "10 MB of levels of one letter": lambda: filled("<b>"),
    "10 MB of links in links": lambda: filled("<a href=/ok?21><div>"),
    "links around 10 MB": lambda: filled("x<i></i>", head="<a href=/ok?22><div>" * 900),
    "links under 2,000 levels": lambda: filled("<a href=/ok?23><b>y</b></a>", MB, head="<div>" * 2_000),
    "two kinds of links": lambda: filled("<a href=/ok?24></a><area href=/ok?25>", MB),
    "one link of 10 MB": lambda: filled("x", head='<a href="/ok?26'),
    "10 MB of attributes": lambda: filled(" a b=c", head="<a href=/ok?27"),
    "10 MB of brackets": lambda: filled("<"),
    "10 MB of closing tags": lambda: filled("</div></a>"),
    "10 MB of comments": lambda: filled("<!--x"),
    "bases": lambda: filled("<base href=/ok/>", MB),
    "10 MB of nothing": lambda: filled("\0"),
    "levels as xml": lambda: html(b"<x>" * 200_000 + b"<a href='/ok?28'/>", "text/xml"),
}
"""Pages that are made to take much time or memory."""

ODD = {
    "javascript:void(0)": "not followed (javascript:)",
    "JavaScript:go('/x')": "not followed (javascript:)",
    "java\nscript:x": "not followed (javascript:)",
    "mailto:a@b.test": "not followed (mailto:)",
    "tel:+4912": "not followed (tel:)",
    "data:text/html,<a href=x>": "not followed (data:)",
    "http://b.test:99999/": "invalid URL",
    "http://b.test:port/": "invalid URL",
    "http://b.test:-1/": "invalid URL",
    "http://[::1/": "invalid URL",
    "http://[v1.x]/": "invalid URL",
    "http://[fe80::1%25eth0]/": "invalid URL",
    "http://b test/": "invalid URL",
    "http://b\x01.test/": "invalid URL",
    "http://%00/": "invalid URL",
    "http://": "invalid URL",
    "http://256.256.256.256/": "invalid URL",
    "http://[::1]:8080/x": "off-site",
    "http://[2001:DB8::1]/": "off-site",
    "http://0x7f.1/": "off-site",
    "http://other.test:65535/\x02": "off-site",
    "file:///etc/passwd": "off-site",
    "s3://bucket/key": "off-site",
    "ftp://other.test/": "off-site",
    "\x01/ok?30\x7f": "",
    "/ok?31\t\n": "",
    " /ok?\x0032": "",
    "\\ok?33": "",
    "/%zz/../ok?34": "",
    "#": "duplicate",
    "": "duplicate",
}
"""Links, and why they are dropped; "" for those that lead somewhere."""

PAGES = {**BROKEN, **ENCODINGS, **LARGE}
EXTRACTORS = {
    "plain": LinkExtractor(),
    "wide": LinkExtractor(tags="*", attrs="*", deny_extensions=()),
    "narrow": LinkExtractor(restrict_css="div, body", canonicalize=True, allow_domains="hostile.test", deny=r"\d{9}"),
}
WAYS: dict[str, Callable[[Response], Iterable[Request]]] = {
    "all": lambda page: page.follow_all(unique=True),
    "css": lambda page: page.follow_all(css="div a, body a", unique=True),
    "xpath": lambda page: page.follow_all(xpath="//a", unique=True),
    "host": lambda page: page.follow_all(within="host", unique=True),
    "domain": lambda page: page.follow_all(css="a[href], img", within="domain", unique=True),
    **{name: lambda page, name=name: page.follow_all(EXTRACTORS[name]) for name in EXTRACTORS},  # type: ignore[misc]
}


def answer(make: Callable[[], Response]) -> Callable[[Request], Response]:
    return lambda request: make()


def site() -> dict[str, Any]:
    made = {f"/{n}": answer(make) for n, make in enumerate(PAGES.values())}
    return {**made, "/ok": page("ok"), "/odd": page("".join(f'<a href="{escape(odd)}">x</a>' for odd in ODD))}


def parse(response: Response) -> Iterator[Any]:
    for name, way in WAYS.items():
        began = time.process_time()
        requests = list(way(response))
        yield {"page": response.url, "way": name, "links": len(requests), "seconds": time.process_time() - began}
        yield from requests


def lost(outcome: Failed | Dropped) -> Any:
    """Links to what is no page."""
    return {"failed": repr(outcome.error)} if isinstance(outcome, Failed) else None


def crawl(start: list[str], callback: Callable[[Response], Iterable[Any]]) -> tuple[Summary, list[Any]]:
    items: list[Any] = []
    layers = ops.default_layers(robots_txt=None, retry=None)
    download = ops.download(*layers, fetch=FakeFetch(site()))
    flow = Crawl(start, concurrency=1).pipe(download, ops.scrape(callback, errback=lost))

    async def main() -> Summary:
        return await flow.start(on_item=items.append)

    return run_virtual(main()), items


def measured() -> dict[str, Any]:
    """A crawl of all of them in all ways, as plain data."""
    before, began = peak_rss(), time.process_time()
    summary, told = crawl([f"{HOST}/{n}" for n in range(len(PAGES))], parse)
    return {
        "text": str(summary),
        "balanced": summary.balanced,
        "ok": summary.ok,
        "pages": summary.pages,
        "failed": summary.failed,
        "items": [item for item in told if "way" in item],
        "errors": [item["failed"] for item in told if "failed" in item],
        "seconds": time.process_time() - began,
        "memory": peak_rss() - before,
    }


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    tests = Path(__file__).parent.parent
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", __file__]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-4000:]
    return cast("dict[str, Any]", json.loads(done.stdout))


def test_nothing_is_fatal_and_everything_is_counted(told: dict[str, Any]) -> None:
    assert told["balanced"], told["text"]
    assert told["ok"], told["text"]
    assert len(told["errors"]) == told["failed"]
    assert [error for error in told["errors"] if "404" not in error] == []
    assert told["pages"] > len(PAGES)
    assert len(told["items"]) == told["pages"] * len(WAYS)


def test_no_page_takes_long_or_much(told: dict[str, Any]) -> None:
    slow = [item for item in told["items"] if item["seconds"] > 8]
    assert slow == [], "seconds of CPU time for one way to the links of one page"
    assert told["seconds"] < 60
    assert told["memory"] < 600 * MB, "one page of 10 MB at a time: its bytes, its text, its tree, its links"


@pytest.mark.parametrize(
    ("name", "links"),
    [
        ("unclosed", 2),
        ("upside down", 2),
        ("nothing", 0),
        ("a bracket", 0),
        ("no html", 0),
        ("broken json", 0),
        ("two documents", 2),
        ("entities", 1),
        ("not what it says", 1),
        ("no such encoding", 1),
        ("a codec of no characters", 1),
        ("utf-16 in ascii", 1),
        ("shift_jis", 1),
        ("mixed", 2),
        ("10 MB of links in links", 1),
        ("links under 2,000 levels", 1),
        ("two kinds of links", 2),
        ("one link of 10 MB", 0),
    ],
)
def test_what_can_be_found_is_found(told: dict[str, Any], name: str, links: int) -> None:
    (number,) = [n for n, known in enumerate(PAGES) if known == name]
    found = {item["way"]: item["links"] for item in told["items"] if item["page"] == f"{HOST}/{number}"}
    assert found["all"] == found["host"] == found["plain"] == links


@pytest.mark.parametrize("way", ["all", "css"])
def test_odd_links_are_dropped_for_their_reasons(way: str) -> None:
    summary, items = crawl(
        [f"{HOST}/odd"], lambda page: page.follow_all() if way == "all" else page.follow_all(css="a")
    )
    dropped = Counter(reason for reason in ODD.values() if reason)
    assert summary.counts.dropped == dropped
    assert summary.counts.offered.links == len(ODD)
    assert summary.balanced
    assert summary.pages == 1 + sum(reason == "" for reason in ODD.values())
    assert items == []


def test_an_extractor_leaves_them_out_and_counts_them() -> None:
    summary, _ = crawl([f"{HOST}/odd"], lambda page: page.follow_all(LinkExtractor()))
    reasons = Counter(reason.partition(" (")[0] for reason in ODD.values())
    assert summary.stats["links/invalid"] == reasons["invalid URL"]
    assert summary.stats["links/not_followed"] == reasons["not followed"] + 1, "and s3:"
    assert summary.counts.dropped == {"off-site": reasons["off-site"] - 1, "duplicate": 2}
    assert summary.balanced


@pytest.mark.parametrize("within", ["host", "domain", "origin"])
def test_no_request_is_made_for_what_leads_elsewhere(within: Any) -> None:
    summary, _ = crawl([f"{HOST}/odd"], lambda page: page.follow_all(within=within))
    assert summary.counts.dropped == {"duplicate": 2}
    assert summary.counts.offered.links == 2 + sum(reason == "" for reason in ODD.values())


@pytest.mark.parametrize("way", ["requests", "follow_all"])
def test_half_a_character_in_a_link_does_no_harm_to_the_links_behind_it(way: str) -> None:
    """JSON can say it, `\\ud800`, and no URL can have it."""

    def links(page: Response) -> Iterator[Request]:
        if page.kind == "json":
            yield from page.follow_all(page.json()) if way == "follow_all" else map(Request, page.json())

    body = json.dumps(["http://a.test/\ud800", "\udfff", "http://a.test/ok", "http://\udfff.test/"]).encode()

    def answered(request: Request) -> Response:
        return Response(request.url, headers=Headers({"Content-Type": "application/json"}), body=body, request=request)

    fetch = FakeFetch({"/list": answered, "/ok": page("ok")})
    flow = Crawl("http://a.test/list").pipe(
        ops.download(*ops.default_layers(robots_txt=None), fetch=fetch), ops.scrape(links)
    )

    async def main() -> Summary:
        return await flow.start()

    summary = run_virtual(main)
    assert summary.counts.dropped == {"invalid URL": 3}
    assert (summary.pages, summary.counts.callback_errors, summary.balanced) == (2, 0, True)


if __name__ == "__main__":
    print(json.dumps(measured()))
