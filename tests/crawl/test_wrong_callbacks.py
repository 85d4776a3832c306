"""What is told of a crawl that was written wrongly and raises nothing: the mistake, its file and its line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from streamcrawl import Crawl, Drop, Headers, Request, Response, Spider
from streamcrawl import operators as ops
from streamcrawl.core import Dropped
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import InvalidURL
from streamcrawl.events import CallbackFailed, Notice, RequestFailed
from streamcrawl.streams.scrape_hooks import ScrapeHooks
from streamcrawl.streams.scrape_layer import scrape_layer
from streamcrawl.testing.virtual_time import run_virtual
from streamcrawl.urls import with_scheme

HOME = "http://a.test/"
PAGES = [f"{HOME}{n}" for n in range(5)]


async def fetch(request: Request) -> Response:
    if request.url.endswith("/moved"):
        return Response(request.url, 301, request=request, headers=Headers({"Location": "http://www.b.test/"}))
    return Response(request.url, request=request, body=b"<a href=/1>1</a>")


def told(crawl: Crawl[Any]) -> tuple[Summary, list[str], list[str]]:
    """The summary, the warnings, and the errors of callbacks."""
    warnings: list[str] = []
    errors: list[str] = []

    async def main() -> Summary:
        run = crawl.start()
        run.events.on(Notice, lambda notice: warnings.append(notice.text) if notice.level == "warning" else None)
        run.events.on(CallbackFailed, lambda event: errors.append(str(event.error)))
        return await run

    return run_virtual(main), warnings, errors


def crawled(callback: Any, *layers: Any, start: Any = None, down: Iterable[Any] = ()) -> Any:
    pipe = (ops.download(*down, fetch=fetch), ops.scrape(callback, *layers))
    return told(Crawl(PAGES if start is None else start).pipe(*pipe))


def line_of(function: Callable[..., Any]) -> int:
    return inspect.getsourcelines(function)[1]


# -- a forgotten yield ----------------------------------------------------------------------------------------------


def forgotten(page: Any) -> None:
    page.follow_all(css="a")


async def forgotten_too(page: Any) -> None:
    page.follow_all(css="a")


class Shop(Spider):
    name = "shop"
    start_urls = PAGES

    def parse(self, page: Any) -> None:
        page.follow_all(css="a")


async def stream(outputs: AsyncIterator[Any], page: Any) -> AsyncIterator[Any]:
    async for each in outputs:
        yield each


@pytest.mark.parametrize(
    ("callback", "function"),
    [
        (forgotten, forgotten),
        (forgotten_too, forgotten_too),
        (functools.partial(forgotten), forgotten),
        (Shop().parse, Shop.parse),
    ],
    ids=["function", "coroutine", "partial", "method"],
)
def test_a_forgotten_yield_is_told_once(callback: Any, function: Any) -> None:
    summary, warnings, _ = crawled(callback)
    where = f"{function.__name__} (tests/crawl/test_wrong_callbacks.py:{line_of(function)})"
    (text,) = warnings
    assert text.replace("\\", "/").endswith(f'{where} returned None for all of 5 pages: is a "yield" missing?')
    assert text.startswith("no callback gave an item or a link: ")
    assert summary.ok


def test_a_forgotten_yield_of_a_spider_names_its_parse() -> None:
    _, warnings, _ = told(Crawl.of(Shop).replace(download=ops.download(fetch=fetch)))
    assert [f"test_wrong_callbacks.py:{line_of(Shop.parse)})" in text for text in warnings] == [True]
    assert "parse (" in warnings[0]


def test_a_forgotten_yield_is_told_with_layers_that_take_outputs_as_a_whole() -> None:
    whole = scrape_layer("whole", lambda run: ScrapeHooks(output=stream))
    _, warnings, _ = crawled(forgotten, whole, start=HOME)
    assert [text.endswith('returned None for the only page: is a "yield" missing?') for text in warnings] == [True]


def gives_once(page: Any) -> Any:
    return {"url": page.url} if page.url.endswith("3") else None


def links_once(page: Any) -> Any:
    return page.follow(HOME) if page.url.endswith("3") else None


def generates_nothing(page: Any) -> Any:
    yield from ()


def drops(page: Any) -> None:
    raise Drop("not today")


SEEN: list[Any] = []
MEANT: list[Any] = [gives_once, links_once, generates_nothing, drops, lambda page: None, SEEN.append]  # pyright: ignore[reportUnknownLambdaType]


@pytest.mark.parametrize("callback", MEANT)
def test_where_it_may_be_meant_nothing_is_told(callback: Any) -> None:
    summary, warnings, _ = crawled(callback)
    assert warnings == []
    assert summary.pages >= 5


def test_nothing_is_told_of_a_start_that_gives_items() -> None:
    assert crawled(forgotten, start=[{"item": 1}, HOME])[1] == []


# -- links that cannot be asked for ---------------------------------------------------------------------------------


def wrong_links(page: Any) -> Any:
    yield {"url": page.url}
    yield Request(HOME + "x", callback="parse_item")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - wrong on purpose
    yield Request("/relative")
    yield {"after": page.url}


async def wrong_links_later(page: Any) -> Any:
    for each in wrong_links(page):
        yield each


def in_a_list(page: Any) -> Any:
    return list(wrong_links(page))


MISTAKES = (
    f"the callback for {HOME} yielded {HOME}x, which is not asked for: callback='parse_item': a function, such as ",
    f"the callback for {HOME} yielded '/relative', which is no absolute URL: page.follow(…) makes one of it (",
)


def places(function: Any, *offsets: int) -> list[str]:
    return [f"test_wrong_callbacks.py:{line_of(function) + offset}, in {function.__name__})" for offset in offsets]


@pytest.mark.parametrize(
    ("callback", "where"),
    [
        (wrong_links, places(wrong_links, 2, 3)),
        (wrong_links_later, places(wrong_links_later, 2, 2)),
        (in_a_list, places(in_a_list, 0, 0)),
    ],
)
@pytest.mark.parametrize("layers", [(), (scrape_layer("whole", lambda run: ScrapeHooks(output=stream)),)])
def test_links_that_make_no_sense_are_errors_with_their_line(callback: Any, where: list[str], layers: Any) -> None:
    summary, warnings, errors = crawled(callback, *layers, start=HOME)
    assert [text.startswith(start) for text, start in zip(errors, MISTAKES, strict=True)] == [True, True]
    assert [text.endswith(end) for text, end in zip(errors, where, strict=True)] == [True, True]
    assert warnings == []
    assert summary.counts.callback_errors == 2
    assert summary.counts.items == 2  # what follows them is taken
    assert not summary.ok
    assert summary.balanced


def test_a_link_of_the_page_that_is_no_url_is_no_error_of_the_callback() -> None:
    def links(page: Any) -> Any:
        yield from page.replace(body=b'<a href="//[">x</a><a href="http://[">x</a>').follow_all(css="a")

    summary, _, errors = crawled(links, start=HOME)
    assert errors == []
    assert summary.counts.dropped == {"invalid URL": 2}
    assert summary.ok


# -- start requests that are dropped --------------------------------------------------------------------------------


def test_start_requests_that_are_dropped_are_told_and_the_rest_is_counted() -> None:
    down = [ops.on_request(lambda request: Dropped(request, "robots.txt"))]
    summary, warnings, _ = crawled(gives_once, down=down)
    one = [f"start request dropped: {url}: robots.txt" for url in PAGES[:3]]
    assert sorted(warnings) == [*one, "start requests dropped: 2 more (2 robots.txt)"]
    assert summary.dropped == 5


def test_a_start_that_leads_to_another_host_is_told_with_the_host() -> None:
    _, warnings, _ = crawled(gives_once, start=f"{HOME}moved", down=[ops.redirect()])
    (text,) = warnings
    assert text.startswith(f"start request dropped: http://www.b.test/: off-site: {HOME}moved led to www.b.test; ")
    assert text.endswith("start there, or widen the scope: scope=['a.test', 'www.b.test']")


def test_a_start_that_a_layer_finds_off_site_is_told_with_the_host() -> None:
    _, warnings, _ = crawled(gives_once, start=HOME, down=[ops.scope("b.test")])
    assert warnings == [f"start request dropped: {HOME}: off-site: the crawl does not lead to a.test"]


def test_links_and_doubled_starts_that_are_dropped_are_not_told() -> None:
    def links(page: Any) -> Any:
        yield Request("http://b.test/")

    summary, warnings, _ = crawled(links, start=[HOME, HOME])
    assert summary.counts.dropped == {"duplicate": 1, "off-site": 1}
    assert warnings == []


def test_start_requests_that_make_no_sense_fail_with_their_line() -> None:
    def start() -> Any:
        yield Request(HOME, callback="parse_item")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - wrong on purpose
        yield "/relative"

    failed: list[str] = []

    async def main() -> Summary:
        run = Crawl(start()).pipe(ops.download(fetch=fetch), ops.scrape(gives_once)).start()
        run.events.on(RequestFailed, lambda event: failed.append(str(event.failed.error)))
        return await run

    assert run_virtual(main).failed == 2
    ends = places(start, 1, 2)
    assert [text.endswith(end) for text, end in zip(failed, ends, strict=True)] == [True, True]
    assert failed[1].startswith("invalid URL '/relative': it is relative; ")


MOVED = [f"{HOME}moved"]
DOMAINS = ["a.test"]


def test_a_spider_whose_start_leads_to_another_host_is_told_of_its_domains() -> None:
    class Moved(Spider):
        name = "moved"
        start_urls = MOVED
        allowed_domains = DOMAINS

        def parse(self, page: Any) -> Any:
            yield {"url": page.url}

    _, warnings, _ = told(Crawl.of(Moved).replace(download=ops.download(ops.redirect(), fetch=fetch)))
    assert [text.endswith("the scope: allowed_domains = ['a.test', 'www.b.test']") for text in warnings] == [True]


# -- addresses without a scheme -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:8123", "http://127.0.0.1:8123"),
        ("[::1]:8123/x", "http://[::1]:8123/x"),
        ("localhost", "http://localhost"),
        ("printer.local/jobs", "http://printer.local/jobs"),
        ("example.com/x?y#z", "https://example.com/x?y#z"),
        ("//www.example.co.uk", "https://www.example.co.uk"),
    ],
)
def test_an_address_without_a_scheme_is_answered_with_what_is_meant(given: str, meant: str) -> None:
    with pytest.raises(InvalidURL) as raised:
        Crawl([given])
    assert str(raised.value) == f"invalid URL {given!r}: it has no scheme: did you mean {meant}?"


@pytest.mark.parametrize("given", ["page.html", "list.php?id=3", "a/b", "1.2", "999.1.1.1", "x" * 100_000 + "!"])
def test_what_is_no_host_is_not_taken_for_one(given: str) -> None:
    assert with_scheme(given) == ""


@pytest.mark.parametrize(("given", "scheme"), [("example.com:8080", "http"), ("example.com:443", "https")])
def test_a_port_says_which_scheme_is_meant(given: str, scheme: str) -> None:
    assert with_scheme(given) == f"{scheme}://{given}"


# -- the sum --------------------------------------------------------------------------------------------------------


def test_the_sum_leaves_out_what_was_not() -> None:
    summary, _, _ = crawled(gives_once, start=PAGES[3])
    first, *rest = str(summary).splitlines()
    assert first.startswith("finished: 1 page, 1 item in 0.0 s (")
    assert rest == ["offered 2 = 2 responses", "  offered: 1 start, 1 nested"]


STATS = {
    "httpcache/hit": 1234,
    "httpcache/revalidate": 2,
    "httperror/response_ignored_status_count/404": 2,
    "items_dropped": 3,
    "items_dropped/no price": 1,
    "items_dropped/sold out": 2,
    "callback_dropped/empty": 1,
    "file_status_count/downloaded": 7,
    "file_status_count/uptodate": 1,
    "file_status_count/failed": 1,
}
TENS = ", ".join(f"{n} reason {n}" for n in range(10, 2, -1))


def test_the_sum_names_the_most_frequent_reasons() -> None:
    summary, _, _ = crawled(gives_once)
    summary.counts.dropped.update({f"reason {n}": n for n in range(1, 11)})
    summary.counts.failed = 3
    summary.stats.update(STATS)
    assert str(summary).splitlines()[1:] == [
        "offered 6 = 6 responses + 3 failed + 55 dropped",
        "  offered: 5 start, 1 nested",
        "  responses: 5 pages, 1 nested; 1,234 from the cache, 2 renewed",
        "  failed: 2 HTTP status 404, 1 other",
        f"  dropped: {TENS}, 3 for other reasons",
        "  dropped by callbacks: 1 empty",
        "  items dropped: 2 sold out, 1 no price",
        "  files: 7 downloaded, 1 up to date",
        "  trouble: 1 file failed",
    ]
