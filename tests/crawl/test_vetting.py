"""Requests as people write them."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nan
from types import MappingProxyType
from typing import Any

import pytest

from streamcrawl import Crawl, Failed, Request, Response
from streamcrawl import operators as ops
from streamcrawl.events import CallbackFailed, Notice
from streamcrawl.testing import FakeFetch, run_virtual
from streamcrawl.vetting import vetted

BARE = ops.default_layers(robots_txt=None)
URL = "http://a.test/"


def made(**fields: Any) -> Request:
    return Request(URL, **fields)


def test_what_is_meant() -> None:
    request = vetted(made(headers={"A": "b", "n": 1}, body="text", method="post"))
    assert (request.headers.pairs(), request.body, request.method) == ((("A", "b"), ("n", "1")), b"text", "POST")
    fine = Request(URL)
    assert vetted(fine) is fine
    fine = made(meta={1: 2}, cb_kwargs={"a": 1}, priority=1.5, timeout=5, skip=("cookies",), statuses=range(400, 600))
    assert vetted(fine) is fine
    fine = made(max_retries=0, max_redirects=0, max_size=0, timeout=inf, priority=-1)
    assert vetted(fine) is fine
    assert (vetted(made(cookiejar=7)).cookiejar, vetted(made(slot=7)).slot) == ("7", "7")
    nothing = vetted(made(meta=None, statuses=None, fingerprint_headers=None, cache=None, cb_kwargs=None))
    assert (nothing.meta, nothing.statuses, nothing.cache, nothing.cb_kwargs) == ({}, (), "default", {})
    assert vetted(made(meta=MappingProxyType({"a": 1}))).meta == {"a": 1}
    request = vetted(made(skip=["cookies"], fingerprint_headers={"Accept"}, reach=["any"], statuses="any"))
    assert (request.skip, request.fingerprint_headers, request.reach) == (("cookies",), ("Accept",), ("any",))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"headers": 5}, "headers=5: a dict, or Headers"),
        ({"body": 5}, "body=5: bytes or text"),
        ({"callback": "parse_item"}, "callback='parse_item': a function, such as self.parse_item"),
        ({"callback": len, "errback": 5, "headers": {}}, "errback=5: a function"),
        ({"errback": "failed"}, "errback='failed': a function"),
        ({"method": None}, "method=None: text, such as 'GET'"),
        ({"method": b"POST"}, "method=b'POST': text, such as 'GET'"),
        ({"priority": "high"}, "priority='high': a number is needed"),
        ({"meta": 3}, "meta=3: a dict is needed"),
        ({"cb_kwargs": ["page"]}, r"cb_kwargs=\['page'\]: a dict"),
        ({"timeout": "5"}, "timeout='5': a number or None is needed"),
        ({"max_retries": 1.5}, "max_retries=1.5: a whole number or None is needed"),
        ({"skip": "cookies"}, r"skip='cookies': a tuple of text is needed, such as \('cookies',\)"),
        ({"reach": "10.0.0.0/8"}, r"reach='10.0.0.0/8': .*such as \('10.0.0.0/8',\)"),
        ({"skip": ["cookies", 1]}, r"skip=\['cookies', 1\]: a tuple of text"),
        ({"statuses": 404}, "statuses=404: a list of whole numbers or 'any' is needed"),
        ({"statuses": "404"}, "statuses='404': "),
        ({"cache": "nostore"}, "cache='nostore': 'default', 'no-store', "),
        ({"cookiejar": ("a", 1)}, r"cookiejar=\('a', 1\): text or None"),
        ({"dont_filter": "yes"}, "dont_filter='yes': True or False"),
        ({"not_before": "x"}, "not_before='x': a number"),
        ({"max_retries": -1}, "max_retries=-1: 0 or more is needed"),
        ({"max_redirects": -1}, "max_redirects=-1: 0 or more is needed"),
        ({"max_size": -1}, "max_size=-1: 0 or more is needed"),
        ({"timeout": 0}, "timeout=0: seconds above 0 are needed"),
        ({"timeout": -0.5}, "timeout=-0.5: seconds above 0 are needed"),
        ({"timeout": nan}, "timeout=nan: a number or None is needed"),
        ({"priority": nan}, "priority=nan: a number is needed"),
        ({"not_before": nan}, "not_before=nan: a number is needed"),
    ],
)
def test_what_cannot_be_meant(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        vetted(made(**fields))


def crawled(start: Any, *links: Any) -> tuple[Any, FakeFetch, list[str]]:
    def parse(page: Response) -> Iterator[Any]:
        if page.url == URL:
            yield from links

    fetch = FakeFetch({"/": "", "/1": ""})
    told: list[str] = []

    async def main() -> Any:
        run = Crawl(start).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(parse)).start()
        run.events.on(Notice, lambda notice: told.append(notice.text))
        run.events.on(CallbackFailed, lambda event: told.append(str(event.error)))
        return await run

    return run_virtual(main), fetch, told


def test_links_with_a_dict_as_headers_are_fetched() -> None:
    link = made(headers={"X-Mine": "1"}).replace(url=URL + "1")
    summary, fetch, _ = crawled(URL, link)
    assert summary.pages == 2
    assert fetch.log[1][1].headers["x-mine"] == "1"


def test_what_makes_no_sense_is_told_counted_and_loses_nothing_else() -> None:
    wrong = made(callback="parse_item").replace(url=URL + "1")
    summary, _, told = crawled(URL, wrong, Request("/relative"), Request(URL + "1"))
    assert summary.pages == 2
    assert summary.counts.dropped == {"invalid request": 1, "invalid URL": 1}
    mistake = "callback='parse_item': a function, such as self.parse_item"
    assert [text.partition(" (")[0] for text in told] == [
        f"the callback for {URL} yielded {URL}1, which is not asked for: {mistake}",
        f"the callback for {URL} yielded '/relative', which is no absolute URL: page.follow(…) makes one of it",
    ]
    assert summary.counts.callback_errors == 2
    assert summary.balanced


def test_a_start_that_makes_no_sense_fails() -> None:
    wrong = made(body=5)
    summary, fetch, _ = crawled([wrong, URL + "1"])
    assert (summary.counts.failed, summary.pages, len(fetch.log)) == (1, 1, 1)


def test_keys_of_meta_that_do_something_in_scrapy_are_told_once() -> None:
    start = [Request(f"{URL}?{number}", meta={"proxy": "http://127.0.0.1:9", "mine": 1}) for number in range(3)]
    _, _, told = crawled(start)
    assert told == ["meta['proxy'] does nothing here, write Request(proxy=…)"]


def test_a_bound_that_is_none_is_told_before_anything_is_asked_for() -> None:
    summary, fetch, told = crawled(URL, made(max_retries=-1).replace(url=URL + "1"))
    assert summary.counts.dropped == {"invalid request": 1}
    assert ["max_retries=-1: 0 or more is needed" in text for text in told] == [True]
    assert summary.balanced
    summary, fetch, _ = crawled([made(timeout=0)])
    assert (summary.counts.failed, fetch.log) == (1, [])


def test_a_method_that_is_none_is_counted_like_any_mistake() -> None:
    """The sum adds up: offered = responses + failed + dropped + again + waiting."""
    summary, _, told = crawled(URL, made(method=None), Request(f"{URL}1"))
    assert summary.balanced
    assert (summary.counts.dropped, summary.pages) == ({"invalid request": 1}, 2)
    assert ["method=None: text, such as 'GET'" in text for text in told] == [True]


def test_a_mistake_of_an_errback_is_told_as_such() -> None:
    def fails(failed: Failed) -> None:
        raise KeyError("gone")

    def yields(failed: Failed) -> Iterator[Any]:
        yield 5

    def leads(failed: Failed) -> Iterator[Any]:
        yield made(timeout="5").replace(url=f"{URL}x")

    links = [Request(f"{URL}{each.__name__}", errback=each) for each in (fails, yields, leads)]
    summary, _, told = crawled(URL, *links)
    assert summary.counts.callback_errors == 3
    assert sorted(text.partition(" (")[0] for text in told) == [
        f"the errback for {URL}fails raised KeyError: 'gone'",
        f"the errback for {URL}leads yielded {URL}x, which is not asked for: timeout='5': a number or None is needed",
        f"the errback for {URL}yields yielded 5",
    ]
