"""changed: what passes among pages and among items, in one run and from run to run, and what a crash leaves."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import reactivex
from reactivex import Observable

from streamcrawl import Crawl, Headers, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import RUN, Dropped, Failed, Outcome
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import FlowError, OperatorError
from streamcrawl.events import ItemDropped, ItemFailed
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.naming import name_of
from streamcrawl.testing import FakeFetch, check_operator, page, run_virtual
from streamcrawl.testing.fake_fetch import Chunks
from streamcrawl.testing.virtual_time import START

HOST = "http://a.test"
BARE = ops.default_layers(robots_txt=None, retry=None)


def passed(operator: Any, *elements: Any) -> list[Any]:
    """What it lets through, with no crawl around it."""
    found: list[Any] = []
    source: Observable[Any] = reactivex.from_iterable(elements)
    operator(source).subscribe(found.append)
    return found


def response(path: str = "/", body: str = "", status: int = 200, **request: Any) -> Response:
    return Response(HOST + path, status, body=body.encode(), request=Request(HOST + path, **request))


# -- what passes, used alone -------------------------------------------------------------------------------------------


def test_a_page_passes_when_it_is_new_and_when_its_body_differs() -> None:
    pages = [response(body=body) for body in ("a", "a", "b", "b", "a")]
    found = passed(ops.changed(), *pages)
    assert [each if isinstance(each, Response) else repr(each) for each in found] == [
        pages[0],
        f"<Dropped {HOST}/: unchanged>",
        pages[2],
        f"<Dropped {HOST}/: unchanged>",
        pages[4],
    ]
    assert found[1].request is pages[1].request


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (response("/?b=2&a=1"), True),
        (response("/?a=1&b=2#part"), True),
        (response("/?a=1&b=3"), False),
        (response("/?a=1&b=2", method="POST"), False),
        (response("/?a=1&b=2", headers=Headers({"Accept-Language": "de"})), True),
        (
            response("/?a=1&b=2", headers=Headers({"Accept-Language": "de"}), fingerprint_headers=("Accept-Language",)),
            False,
        ),
    ],
)
def test_a_page_is_known_by_what_its_request_asks_for(other: Response, same: bool) -> None:
    found = passed(ops.changed(), response("/?a=1&b=2"), other)
    assert isinstance(found[1], Dropped) is same


def test_error_pages_pass_and_are_not_remembered() -> None:
    pages = [response(body=body, status=status) for body, status in (("a", 200), ("x", 503), ("x", 503), ("a", 200))]
    found = passed(ops.changed(), *pages)
    assert found[:3] == pages[:3]
    assert repr(found[3]) == f"<Dropped {HOST}/: unchanged>"


def test_what_is_no_response_passes() -> None:
    outcomes: list[Outcome] = [Failed(Request(HOST), OSError("no")), Dropped(Request(HOST), "robots.txt")] * 2
    assert passed(ops.changed(), *outcomes) == outcomes


def test_a_part_of_the_page_is_compared() -> None:
    def main_text(page: Response) -> Any:
        return page.css("main::text").get()

    pages = [response(body=f"<main>{text}</main><p>{n}</p>") for n, text in enumerate("aab")]
    found = passed(ops.changed(of=main_text), *pages)
    assert [type(each) for each in found] == [Response, Dropped, Response]
    by_title = passed(ops.changed(key=lambda page: page.body[:7]), *[response(f"/{n}", "same") for n in range(2)])
    assert [type(each) for each in by_title] == [Response, Dropped]


def test_streamed_bodies_pass_if_nothing_else_is_compared() -> None:
    def streamed() -> Response:
        return Response(
            HOST, stream=Chunks(b"body"), request=Request(HOST, stream=True), headers=Headers({"ETag": "1"})
        )

    assert [type(each) for each in passed(ops.changed(), streamed(), streamed())] == [Response, Response]
    by_tag = ops.changed(of=lambda page: page.headers["ETag"])
    assert [type(each) for each in passed(by_tag, streamed(), streamed())] == [Response, Dropped]


@dataclass
class Product:
    sku: int
    price: str = "1"
    seen: str = ""


def tens(item: Any) -> Any:
    return item["id"] // 10


ITEMS: list[tuple[str, dict[str, Any], list[Any], list[int]]] = [
    ("new ones", {"key": "id"}, [{"id": 1}, {"id": 2}, {"id": 1}], [0, 1]),
    ("another field", {"key": "id"}, [{"id": 1, "x": 1}, {"id": 1, "x": 2}, {"id": 1, "x": 2}], [0, 1]),
    ("another order", {"key": "id"}, [{"id": 1, "x": 1}, {"x": 1, "id": 1}], [0]),
    ("back again", {"key": "id"}, [{"id": 1, "x": 1}, {"id": 1, "x": 2}, {"id": 1, "x": 1}], [0, 1, 2]),
    ("text and number", {"key": "id"}, [{"id": 1}, {"id": "1"}], [0, 1]),
    ("two fields", {"key": ("a", "b")}, [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 1}], [0, 1]),
    ("one is not both", {"key": ("a", "b")}, [{"a": "1", "b": "23"}, {"a": "12", "b": "3"}], [0, 1]),
    ("a function", {"key": tens, "of": "id"}, [{"id": 1}, {"id": 1}, {"id": 2}], [0, 2]),
    ("of a field", {"key": "id", "of": "x"}, [{"id": 1, "x": 1}, {"id": 1, "x": 1, "y": 2}, {"id": 1, "x": 2}], [0, 2]),
    ("of fields", {"key": "sku", "of": ("price",)}, [Product(1), Product(1, seen="now"), Product(1, "2")], [0, 2]),
    ("objects", {"key": "sku"}, [Product(1), Product(1), Product(2), Product(1, "2")], [0, 2, 3]),
    (
        "none and nothing",
        {"key": "id"},
        [{"id": None}, {"id": ""}, {"id": 0}, {"id": False}, {"id": None}],
        [0, 1, 2, 3],
    ),
]


@pytest.mark.parametrize(("arguments", "items", "expected"), [each[1:] for each in ITEMS], ids=[x[0] for x in ITEMS])
def test_items_pass_that_are_new_or_differ(arguments: dict[str, Any], items: list[Any], expected: list[int]) -> None:
    found = passed(ops.changed(**arguments), *items)
    assert [id(each) for each in found] == [id(items[n]) for n in expected]


def test_each_subscription_begins_anew() -> None:
    operator = ops.changed("id")
    assert passed(operator, {"id": 1}, {"id": 1}) == [{"id": 1}]
    assert passed(operator, {"id": 1}) == [{"id": 1}]


def test_used_alone_an_error_ends_the_stream() -> None:
    errors: list[Exception] = []
    ops.changed("id")(reactivex.of({"x": 1})).subscribe(on_error=errors.append)
    assert [repr(error) for error in errors] == ["KeyError('id')"]


# -- when built --------------------------------------------------------------------------------------------------------


async def a_coroutine(element: Any) -> Any:
    return element


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"key": ""}, ValueError, "key='': one field name or more, none of them empty"),
        ({"key": ()}, ValueError, r"key=\(\): one field name or more"),
        ({"key": ("a", "")}, ValueError, r"key=\('a', ''\): one field name or more"),
        ({"key": ("a", 1)}, ValueError, r"key=\('a', 1\): one field name or more"),
        ({"key": ["a"]}, TypeError, r"key=\['a'\]: a field name, a tuple of them, or a function"),
        ({"key": "a", "of": 5}, TypeError, "of=5: a field name"),
        ({"key": a_coroutine}, TypeError, "key=<function a_coroutine at .*no coroutine"),
        ({"key": "a", "name": ""}, ValueError, r"changed\(name=''\): it must name something"),
    ],
)
def test_arguments_that_make_no_sense_are_told_when_it_is_built(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ops.changed(**arguments)


def by_id(item: Any) -> Any:
    return item["id"]


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        (ops.changed(), "changed()"),
        (ops.changed("sku"), "changed(sku)"),
        (ops.changed(("sku", "shop"), "price"), "changed(sku, shop)"),
        (ops.changed(by_id), f"changed(by_id at test_changed.py:{by_id.__code__.co_firstlineno})"),
    ],
)
def test_its_name_tells_the_key(operator: Any, name: str) -> None:
    assert name_of(operator) == name


# -- in a crawl --------------------------------------------------------------------------------------------------------


def crawl(web: Any, *operators: Any, pages: tuple[Any, ...] = (), callback: Any = None, **options: Any) -> Crawl[Any]:
    start = options.pop("start", f"{HOST}/")
    fetch: Any = web if callable(web) else FakeFetch(web)
    scrape = ops.scrape(callback or parse, errback=options.pop("errback", None))
    made: Crawl[Any] = Crawl(start, **options).pipe(ops.download(*BARE, fetch=fetch), *pages, scrape, *operators)
    return made


def nothing(page: Response) -> None:
    return None


def parse(page: Response) -> Iterator[Any]:
    yield {"url": page.url, "text": page.css("p::text").get()}
    yield from page.follow_all(css="a")


def ran(made: Crawl[Any], *kinds: type) -> tuple[Summary, list[Any]]:
    """The summary, and the events of these kinds."""
    told: list[Any] = []

    async def main() -> Summary:
        run = made.start()
        for kind in kinds:
            run.events.on(kind, told.append)
        return await run

    return run_virtual(main, start=START + 3600 * next(HOURS)), told


HOURS = count(1)
SITE: dict[str, Any] = {"/": page("<p>0</p>", links=["/1", "/2"]), "/1": "<p>1</p>", "/2": "<p>1</p>"}


def test_pages_are_dropped_with_the_reason_and_the_errback_hears_of_it() -> None:
    heard: list[Any] = []
    by_body = ops.changed(key=lambda page: page.body)
    summary, _ = ran(crawl(SITE, pages=(by_body,), errback=heard.append))
    assert summary.balanced
    assert summary.counts.dropped == {"unchanged": 1}
    assert (summary.pages, summary.items) == (2, 2)
    assert repr(heard) == f"[<Dropped {HOST}/2: unchanged>]"


def test_items_are_dropped_with_the_reason() -> None:
    summary, told = ran(crawl(SITE, ops.changed("text", "text")), ItemDropped, ItemFailed)
    assert summary.items == 2
    assert summary.stats["items_dropped/unchanged"] == 1
    assert [(each.item["url"], each.reason) for each in told] == [(f"{HOST}/2", "unchanged")]
    assert summary.ok


def test_with_no_scrape_responses_are_items() -> None:
    made: Crawl[Any] = Crawl([f"{HOST}/1", f"{HOST}/2"]).pipe(
        ops.download(*BARE, fetch=FakeFetch(SITE)), ops.changed(key=body)
    )
    summary, told = ran(made, ItemDropped)
    assert (summary.pages, summary.items, len(told)) == (2, 1, 1)
    assert not summary.counts.dropped


def test_a_streamed_page_that_is_dropped_is_closed() -> None:
    streams: list[Chunks] = []

    async def fetch(request: Request) -> Response:
        streams.append(Chunks(b"body"))
        return Response(request.url, request=request, stream=streams[-1])

    start = [Request(f"{HOST}/{n}", stream=True) for n in range(2)]
    operator = ops.changed(key=lambda page: "all", of=lambda page: page.status)
    summary, _ = ran(crawl(fetch, pages=(operator,), start=start, callback=nothing))
    assert (summary.pages, summary.counts.dropped) == (1, {"unchanged": 1})
    assert all(stream.closed for stream in streams)


def test_it_closes_such_a_stream_itself() -> None:
    streams = [Chunks(b"body") for _ in range(2)]

    async def main() -> list[Any]:
        run = LocalRun(asyncio.get_running_loop())
        token = RUN.set(run)
        pages = [Response(HOST, request=Request(HOST, stream=True), stream=stream) for stream in streams]
        found = passed(ops.changed(of=lambda page: page.status), *pages)
        RUN.reset(token)
        await asyncio.gather(*run.tasks)
        return found

    assert [type(each) for each in run_virtual(main)] == [Response, Dropped]
    assert [stream.closed for stream in streams] == [False, True]


@pytest.mark.parametrize("among", ["pages", "items"])
@pytest.mark.parametrize("argument", ["key", "of"])
def test_what_a_function_raises_is_that_elements_failure(among: str, argument: str) -> None:
    def broken(element: Any) -> Any:
        url: str = getattr(element, "url", None) or element["url"]
        return url if url != f"{HOST}/1" else element.no_such_field

    operator = ops.changed(broken) if argument == "key" else ops.changed("url", broken)
    where: dict[str, Any] = {"pages": (operator,)} if among == "pages" else {}
    summary, told = ran(crawl(SITE, *(() if where else (operator,)), **where), ItemFailed)
    assert summary.items == 2
    assert summary.balanced
    assert (summary.counts.failed, len(told)) == ((1, 0) if where else (0, 1))
    for each in told:
        assert "operator changed(" in str(each.error)
        assert "no_such_field" in str(each.error)


def test_an_item_that_cannot_be_compared_is_told_with_what_it_is() -> None:
    operator = ops.changed("url", lambda item: [object()])
    _, told = ran(crawl({"/": "<p>0</p>"}, operator), ItemFailed)
    assert "a object cannot be compared from run to run: give text, numbers" in str(told[0].error)


def test_among_items_a_missing_key_stops_the_run() -> None:
    summary, _ = ran(crawl(SITE, ops.changed()))
    assert isinstance(summary.error, OperatorError)
    assert isinstance(summary.error.error, TypeError)
    assert str(summary.error).endswith(
        "among items it needs a key, such as changed('url'): what tells one dict from another"
    )
    assert summary.items == 0


def test_before_download_it_stops_the_run() -> None:
    made: Crawl[Any] = Crawl(f"{HOST}/").pipe(
        ops.changed("url"), ops.download(*BARE, fetch=FakeFetch(SITE)), ops.scrape(parse)
    )
    summary, _ = ran(made)
    assert "it takes responses or items, and got a Request: put it behind download()" in str(summary.error)


def test_two_in_one_pipe_need_two_names() -> None:
    summary, _ = ran(crawl(SITE, ops.changed("url"), pages=(ops.changed(),)))
    assert isinstance(summary.error, FlowError)
    assert "two operators changed(name='changed') in one pipe" in str(summary.error)
    summary, _ = ran(crawl(SITE, ops.changed("url", name="items"), pages=(ops.changed(),)))
    assert (summary.error, summary.items) == (None, 3)


def body(page: Response) -> Any:
    return page.body


def status(page: Response) -> Any:
    return page.status


@pytest.mark.parametrize("edge", ["response", "outcome"])
@pytest.mark.parametrize("operator", [ops.changed(), ops.changed(status, status)])
def test_it_keeps_the_laws_among_outcomes(operator: Any, edge: Any) -> None:
    report = check_operator(operator, edge=edge)
    assert sum(report.came.values()) == report.offered
    assert report.came["Dropped"] > 0


# -- from run to run ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with chdir(tmp_path):
        yield tmp_path


def site(*texts: str) -> dict[str, Any]:
    """A start page and one for each text; the visible clock on each differs all the time."""
    pages = {f"/{n}": f"<p>{text}</p><time>{next(CLOCK)}</time>" for n, text in enumerate(texts)}
    return {"/": page(f"<p>start</p><time>{next(CLOCK)}</time>", links=pages), **pages}


CLOCK = count()
MAIN = {
    "pages": ops.changed(of=lambda page: page.css("p::text").get()),
    "items": ops.changed("url", "text"),
}


def crawled(site: dict[str, Any], among: str, **options: Any) -> list[str]:
    """The paths whose items the feed has after a run of the job."""
    pages = (MAIN["pages"],) if among == "pages" else ()
    items = (MAIN["items"],) if among == "items" else ()
    feed = ops.feed("items.jsonl")
    summary, _ = ran(crawl(site, *items, feed, pages=pages, job="job", **options))
    assert summary.error is None, summary.error
    return paths()


def paths() -> list[str]:
    lines = Path("items.jsonl").read_text().splitlines()
    return sorted(json.loads(line)["url"].removeprefix(HOST) for line in lines)


@pytest.mark.parametrize("among", MAIN)
def test_a_recrawl_gives_only_what_has_changed(among: str, folder: Path) -> None:
    assert crawled(site("a", "b", "c"), among) == ["/", "/0", "/1", "/2"]
    assert crawled(site("a", "b", "c"), among, recrawl=0.0) == []
    assert crawled(site("a", "x", "c"), among, recrawl=0.0) == ["/1"]
    assert crawled(site("a", "b", "c"), among, recrawl=0.0) == ["/1"]
    assert crawled(site("a", "b", "c"), among, recrawl=0.0) == []


def test_a_new_page_is_found_and_given(folder: Path) -> None:
    assert crawled(site("a"), "items") == ["/", "/0"]
    assert crawled(site("a", "b"), "items", recrawl=0.0) == ["/1"]


@pytest.mark.parametrize("among", MAIN)
def test_what_was_not_settled_is_not_remembered(among: str, folder: Path) -> None:
    """A run that is cut off in the middle of a page has not given that page's items for good."""
    before = site("a", "b", "c")
    pages = (MAIN["pages"],) if among == "pages" else ()
    items = (MAIN["items"],) if among == "items" else ()

    async def slow(item: Any) -> Any:
        await asyncio.sleep(60.0 if item["url"] != f"{HOST}/" else 0.0)
        return item

    made = crawl(before, *items, ops.map_async(slow), ops.feed("items.jsonl"), pages=pages, job="job")

    async def cut_off() -> Summary:
        run = made.start()
        asyncio.get_running_loop().call_later(30.0, lambda: run.stop("cut off", now=True))
        return await run

    assert run_virtual(cut_off).items == 1
    assert crawled(before, among) == ["/", "/0", "/1", "/2"]


def test_a_job_that_was_stopped_for_want_of_a_key_loses_no_item(folder: Path) -> None:
    web = site("a", "b")
    summary, _ = ran(crawl(web, ops.changed(), ops.feed("items.jsonl"), job="job"))
    assert "among items it needs a key" in str(summary.error)
    assert crawled(web, "items") == ["/", "/0", "/1"]


def killed(made: Crawl[Any], moments: list[float], copies: Path) -> int:
    """Run the job, and at each moment copy what a kill would leave. Gives how many copies there are."""
    number = 0

    async def main() -> None:
        run = made.start()
        loop = asyncio.get_running_loop()

        def copy() -> None:
            nonlocal number
            if run.summary is None:
                shutil.copytree(".", copies / str(number))
                number += 1

        for moment in moments:
            loop.call_later(moment, copy)
        assert (await run).error is None

    run_virtual(main, start=START + 3600 * next(HOURS))
    return number


@pytest.mark.parametrize("among", MAIN)
def test_a_recrawl_killed_at_any_moment_goes_on_to_the_same(among: str, tmp_path: Path) -> None:
    texts = [str(n) for n in range(30)]
    newer = [text if n % 3 else f"{text}!" for n, text in enumerate(texts)]
    changed = sorted(f"/{n}" for n in range(30) if n % 3 == 0)
    pages = (MAIN["pages"],) if among == "pages" else ()
    items = (MAIN["items"],) if among == "items" else ()

    async def slow(item: Any) -> Any:
        await asyncio.sleep(len(item["text"]) * 0.7)
        return item

    def job(texts: list[str], **options: Any) -> Crawl[Any]:
        fetch = FakeFetch(site(*texts), latency=lambda request: len(request.url) % 3 * 0.4)
        pipe = (*items, ops.map_async(slow, 2), ops.feed("items.jsonl"))
        return crawl(fetch, *pipe, pages=pages, job="job", concurrency=3, **options)

    work = tmp_path / "work"
    work.mkdir()
    with chdir(work):
        ran(job(texts))
        copies = killed(job(newer, recrawl=0.0), [0.0, 0.9, 1.7, 2.6, 4.1, 5.3, 7.0, 9.2], tmp_path)
    assert copies > 5
    for n in range(copies):
        with chdir(tmp_path / str(n)):
            ran(job(newer, recrawl=0.0))
            assert paths() == changed, f"copy {n}"
