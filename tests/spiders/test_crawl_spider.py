"""CrawlSpider: rules, their callbacks, and what becomes of links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamcrawl import Crawl, Drop, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.core import Dropped, Failed
from streamcrawl.errors import FlowError
from streamcrawl.events import CallbackFailed
from streamcrawl.links import Link, LinkExtractor
from streamcrawl.spiders import CrawlSpider, Rule
from streamcrawl.testing import FakeFetch, run_virtual

A = "http://a.test"


def html(*hrefs: str) -> str:
    return "<html>" + "".join(f'<a href="{href}">to {href}</a>' for href in hrefs) + "</html>"


SITE = {
    "/": html("/shelf/1", "/book/1", "/about", "http://b.test/"),
    "/shelf/1": html("/shelf/2", "/book/1", "/book/2", "/book/2", "/"),
    "/shelf/2": html("/book/3"),
    "/book/1": html("/book/9", "/shelf/1"),
    "/book/2": html("/book/9"),
    "/book/3": html(),
    "/book/9": html(),
    "/about": html("/book/9"),
}


class Shop(CrawlSpider):
    name = "shop"
    start_urls = [f"{A}/"]  # noqa: RUF012 - as people write it
    rules: Sequence[Rule] = (
        Rule(LinkExtractor(allow=r"/shelf/")),
        Rule(LinkExtractor(allow=r"/book/"), callback="parse_book", cb_kwargs={"kind": "book"}),
    )

    def parse_book(self, page: Response, kind: str) -> Any:
        return {"url": page.url, "kind": kind, **page.meta}


def started(kind: type[CrawlSpider], site: dict[str, Any] | None = None, **changes: Any) -> tuple[Summary, list[Any]]:
    fetch = FakeFetch(SITE if site is None else site)
    crawl = Crawl.of(kind).replace(download=ops.download(*ops.default_layers(robots_txt=None), fetch=fetch), **changes)

    async def main() -> tuple[Summary, list[Any]]:
        items: list[Any] = []
        return await crawl.start(items.append), items

    summary, items = run_virtual(main)
    assert summary.balanced
    return summary, items


def urls(items: Iterable[Any]) -> list[str]:
    return sorted(item["url"].removeprefix(A) for item in items)


def shop(*rules: Rule, **body: Any) -> type[CrawlSpider]:
    return type("Own", (Shop,), {"rules": rules, **body} if rules else body)


def test_rules_follow_and_make_items() -> None:
    summary, items = started(Shop)
    assert urls(items) == ["/book/1", "/book/2", "/book/3"]  # not /book/9: with a callback, links are not followed
    assert summary.pages == 6
    assert next(item for item in items if item["url"] == f"{A}/book/3") == {
        "url": f"{A}/book/3",
        "kind": "book",
        "rule": 1,
        "link_text": "to /book/3",
    }


@pytest.mark.parametrize(
    ("callback", "follow", "expected"),
    [
        ("parse_book", None, ["/book/1"]),
        ("parse_book", True, ["/book/1", "/book/9"]),
        ("parse_book", False, ["/book/1"]),
        (None, None, []),
        (None, False, []),
    ],
)
def test_follow(callback: str | None, follow: bool | None, expected: list[str]) -> None:
    rule = Rule(LinkExtractor(allow="/book/"), callback, {"kind": "x"} if callback else None, follow)
    summary, items = started(shop(rule))
    assert urls(items) == expected
    assert summary.pages == 2 + (follow is True or (callback is None and follow is None))


def test_the_first_rule_that_finds_a_link_has_it() -> None:
    by_rule = shop(
        Rule(LinkExtractor(allow="/book/1"), "parse_book", {"kind": "first"}),
        Rule(LinkExtractor(allow="/book/"), "parse_book", {"kind": "second"}),
        Rule(LinkExtractor(allow="/shelf/")),
    )
    summary, items = started(by_rule)
    assert sorted((item["url"][-1], item["kind"], item["rule"]) for item in items) == [
        ("1", "first", 0),
        ("2", "second", 1),
        ("3", "second", 1),
    ]
    # A link that two rules find is one link, and one that stands twice on a page is one.
    assert summary.counts.offered.links == 2 + 3 + 1


def test_a_rule_without_extractor_takes_every_link() -> None:
    summary, _ = started(shop(Rule()))
    assert summary.pages == len(SITE)
    assert summary.counts.dropped["off-site"] == 1


def test_process_links_may_leave_some_to_the_next_rule() -> None:
    class Own(Shop):
        rules = (
            Rule(LinkExtractor(), "parse_book", {"kind": "first"}, process_links="odd"),
            Rule(LinkExtractor(allow="/book/"), "parse_book", {"kind": "second"}),
        )

        def odd(self, links: list[Link]) -> Iterator[Link]:
            for link in links:
                if link.url.endswith("/about"):
                    yield Link(link.url, "changed")

    found = {item["url"].removeprefix(A): (item["kind"], item["link_text"]) for item in started(Own)[1]}
    assert found == {"/about": ("first", "changed"), "/book/1": ("second", "to /book/1")}


def test_process_request_changes_and_refuses() -> None:
    class Own(Shop):
        def mark(self, request: Request, page: Response) -> Request | None:
            if request.url.endswith("/book/2"):
                return None
            return request.replace(priority=5, cb_kwargs={"kind": f"from {page.url.removeprefix(A)}"})

        rules = (
            Rule(LinkExtractor(allow="/shelf/")),
            Rule(LinkExtractor(allow="/book/"), "parse_book", {"kind": "rule's"}, process_request=mark),
        )

    assert sorted((item["url"].removeprefix(A), item["kind"]) for item in started(Own)[1]) == [
        ("/book/1", "from /"),
        ("/book/3", "from /shelf/2"),
    ]


def nothing(page: Response) -> None: ...


def plain_callback(page: Response, **kwargs: Any) -> dict[str, Any]:
    return {"url": page.url, "plain": True}


def test_callbacks_of_all_kinds() -> None:
    class Own(Shop):
        def sync(self, page: Response) -> Iterator[Any]:
            yield {"url": page.url}
            yield page.follow("/about", callback=self.single)

        def single(self, page: Response) -> Any:
            return {"url": page.url}

        async def coroutine(self, page: Response) -> Any:
            await asyncio.sleep(1)
            return [{"url": page.url}, None]

        async def generator(self, page: Response) -> AsyncIterator[Any]:
            await asyncio.sleep(1)
            yield {"url": page.url}
            yield {"url": page.url}

        rules = (
            Rule(LinkExtractor(allow="/book/1"), "sync"),
            Rule(LinkExtractor(allow="/book/2"), coroutine, follow=True),
            Rule(LinkExtractor(allow="/book/9"), "generator"),
            Rule(LinkExtractor(allow="/book/"), plain_callback),
            Rule(LinkExtractor(allow="/shelf/"), callback=nothing),
            Rule(LinkExtractor(allow="/shelf/1"), follow=True),
        )

        def parse_start_url(self, page: Response, /, **kwargs: Any) -> Iterator[Any]:
            yield page.follow("/shelf/1", callback=self.shelf)

        def shelf(self, page: Response) -> Any:
            return self.parse_with_rules(page, self.single)

    summary, items = started(Own)
    assert urls(items) == ["/about", "/book/1", "/book/2", "/book/9", "/book/9", "/shelf/1"]
    assert summary.counts.callback_errors == 0


def test_process_results_sees_what_callbacks_give() -> None:
    class Own(Shop):
        async def later(self, page: Response) -> AsyncIterator[Any]:
            for n in range(3):
                await asyncio.sleep(1)
                yield {"url": page.url, "n": n}

        rules = (
            Rule(LinkExtractor(allow="/book/1"), "parse_book", {"kind": "x"}, follow=True),
            Rule(LinkExtractor(allow="/book/9"), "later"),
        )

        def process_results(self, page: Response, results: Iterable[Any], /) -> Iterable[Any]:
            every = list(results)
            return [{"url": page.url, "of": len(every)}] if every else ()

    assert sorted((item["url"].removeprefix(A), item["of"]) for item in started(Own)[1]) == [
        ("/book/1", 1),
        ("/book/9", 3),
    ]


@pytest.mark.parametrize("how", ["at once", "later", "dropped", "async"])
def test_a_callback_that_raises_does_not_cost_the_links(how: str) -> None:
    class Own(Shop):
        rules = (Rule(LinkExtractor(), "broken", follow=True),)

        def broken(self, page: Response) -> Any:
            if how == "at once":
                raise KeyError("price")
            if how == "dropped":
                raise Drop("not this one")
            return self.generator() if how == "later" else self.asynchronous()

        def generator(self) -> Iterator[Any]:
            yield {"url": "kept"}
            raise KeyError("price")

        async def asynchronous(self) -> AsyncIterator[Any]:
            yield {"url": "kept"}
            raise KeyError("price")

    summary, items = started(Own)
    assert summary.pages == len(SITE)
    others = len(SITE) - 1
    assert len(items) == (others if how in ("later", "async") else 0)
    assert summary.counts.callback_errors == (0 if how == "dropped" else others)
    assert summary.stats.get("callback_dropped/not this one", 0) == (others if how == "dropped" else 0)


def test_errback() -> None:
    told: list[Any] = []

    class Own(Shop):
        rules = (
            Rule(LinkExtractor(allow="/shelf/")),
            Rule(LinkExtractor(allow="/book/"), errback="failed"),
            Rule(LinkExtractor(allow="b.test"), errback=told.append),
        )

        def failed(self, outcome: Failed | Dropped) -> Any:
            reason = str(outcome.error) if isinstance(outcome, Failed) else outcome.reason
            return {"url": outcome.request.url, "reason": reason}

    site = {key: value for key, value in SITE.items() if key != "/book/1"}
    _, items = started(Own, site)
    failed = [(item["url"].removeprefix(A), item["reason"]) for item in items]
    assert ("/book/1", f"HTTP status 404 from {A}/book/1") in failed
    assert ("/book/1", "duplicate") in failed
    assert [each.reason for each in told] == ["off-site"]


def test_an_errback_need_not_take_what_process_request_gives_the_callback() -> None:
    class Own(Shop):
        rules = (Rule(LinkExtractor(allow="/book/1"), "book", process_request="kind", errback="failed"),)

        def kind(self, request: Request, page: Response) -> Request:
            return request.replace(cb_kwargs={"kind": "book"})

        def book(self, page: Response, kind: str) -> Any:
            return {"kind": kind}

        def failed(self, outcome: Failed | Dropped) -> Any:
            return {"failed": outcome.request.cb_kwargs["kind"]}

    start = {"/": SITE["/"], "/shelf/1": SITE["/shelf/1"]}
    summary, items = started(Own, start)
    assert summary.counts.callback_errors == 0
    assert all(item == {"failed": "book"} for item in items)
    assert len(items) >= 1


def plain(self: Any, page: Response) -> Any:
    return {"url": page.url}


def test_what_is_no_page_has_no_links() -> None:
    def answer(request: Request) -> Response:
        from streamcrawl import Headers

        return Response(
            request.url, request=request, body=b'{"a": 1}', headers=Headers({"Content-Type": "application/json"})
        )

    summary, items = started(shop(parse_start_url=plain), {"/": answer})
    assert (summary.pages, urls(items), summary.failed) == (1, ["/"], 0)


def test_links_may_be_left_alone() -> None:
    assert started(shop(custom_settings={"CRAWLSPIDER_FOLLOW_LINKS": False}))[0].pages == 1


def test_rules_of_one_spider_alone() -> None:
    class Own(Shop):
        def __init__(self, pattern: str, **arguments: Any) -> None:
            self.rules = (Rule(LinkExtractor(allow=pattern), "parse_book", {"kind": pattern}),)
            super().__init__(**arguments)

    spider = Own("/about")
    page = Response(f"{A}/", body=SITE["/"].encode())

    async def main(spider: CrawlSpider) -> list[Any]:
        return [output async for output in spider.parse_with_rules(page, None)]

    assert [(request.url, request.meta["rule"]) for request in asyncio.run(main(spider))] == [(f"{A}/about", 0)]
    assert [request.url for request in asyncio.run(main(Own("/shelf/")))] == [f"{A}/shelf/1"]


def test_a_job_finds_the_rules_again(tmp_path: Path) -> None:
    whole = urls(started(Shop)[1])
    found: list[str] = []
    reason = ""
    while reason != "already finished":
        summary, items = started(Shop, job=tmp_path / "job", limit_pages=1)
        assert summary.error is None
        assert summary.pages <= 1
        reason = summary.reason
        found += urls(items)
    assert sorted(found) == whole


def test_callback_errors_name_the_users_line() -> None:
    class Own(Shop):
        def parse_book(self, page: Response, kind: str) -> Any:
            return {"url": page.meta["nothing"]}

    told: list[CallbackFailed] = []
    crawl = Crawl.of(Own).replace(download=ops.download(fetch=FakeFetch(SITE)))
    crawl.events.on(CallbackFailed, told.append)

    async def main() -> None:
        await crawl.start()

    run_virtual(main)
    assert told
    assert "in parse_book)" in str(told[0].error)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(callback="parse_nothing"), r"Own\.rules\[0\]: callback is 'parse_nothing', and the spider has no such"),
        (Rule(process_links="nothing"), r"Own\.rules\[0\]: process_links is 'nothing'"),
        (Rule(process_request="nothing"), r"Own\.rules\[0\]: process_request is 'nothing'"),
        (Rule(errback="name"), r"Own\.rules\[0\]: errback is 'name'"),
        ("parse_book", r"Own\.rules\[0\] is 'parse_book', and no Rule"),
    ],
)
def test_what_is_wrong_with_rules(rule: Any, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        started(shop(rule))
