"""What people get wrong when they put a crawl together: each told with its name, before the first request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.errors import FlowError
from streamcrawl.events import CallbackFailed
from streamcrawl.streams.layer import Hooks, layer
from streamcrawl.streams.naming import name_of


async def fetch(request: Request) -> Response:
    return Response(request.url, request=request, body=b"<a href=/1>1</a>")


def parse(page: Any) -> Any:
    return {"url": page.url}


RETRY = r"retry is a layer of download: write ops\.download\(\*ops\.default_layers\(retry=ops\.retry\(…\)\)\)"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ops.download(_any(ops.depth(limit=1))), r"depth is a scrape layer: write ops\.scrape\(callback, "),
        (lambda: ops.scrape(parse, _any(ops.retry())), RETRY),
        (lambda: Crawl("http://a.test/").pipe(ops.download(), _any(ops.retry())), RETRY),
        (lambda: Crawl("http://a.test/").pipe(ops.download(), _any(ops.depth())), r"depth is a scrape layer: write "),
        (
            lambda: Crawl("http://a.test/").pipe(_any(layer("mine", lambda run: Hooks()))),
            r"\(\*ops\.default_layers\(\), mine\)",
        ),
        (lambda: ops.default_layers(robots_txt=_any(False)), r"robots_txt=False\): a layer, such as ops\.robots_txt\("),
        (
            lambda: Crawl("http://a.test/").replace(limit_page=3),
            r"'limit_page'; did you mean 'limit_pages'",
        ),
        (lambda: Crawl("http://a.test/").replace(user_agent="x"), r"'user_agent'; it takes concurrency, per_host, "),
        (lambda: ops.download(_any(ops.default_layers())), r"is none: write ops\.download\(\*layers\), with the star"),
        (lambda: Crawl("http://a.test/", delay=_any("fast")), "delay is 'fast'; it must be a number"),
        (lambda: Crawl("http://a.test/", concurrency=_any("8")), "concurrency is '8'; it must be a number"),
        (lambda: Crawl("http://a.test/", jitter=_any("x")), "jitter is 'x'; it must be a number"),
        (lambda: Crawl("http://a.test/", per_host=_any(None)), "per_host is None; it must be a number"),
    ],
)
def test_told_when_built(make: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        make()


def test_a_bound_that_is_no_number_is_told() -> None:
    with pytest.raises(ValueError, match="delay is nan; it must be 0 or more"):
        Crawl("http://a.test/", delay=float("nan"))


class Page(TypedDict):
    url: str


ITEMS_ONLY: list[Any] = [
    ops.feed("items.jsonl"),
    ops.sqlite("items.db"),
    ops.images("folder"),
    ops.files("folder"),
    ops.batch(2),
    ops.zip_by("id", "price", "name"),
    ops.validate(Page),
    ops.pipeline(print),
]


@pytest.mark.parametrize("operator", ITEMS_ONLY, ids=name_of)
def test_what_is_for_items_stands_behind_scrape(operator: Any) -> None:
    start, said = Crawl("http://a.test/"), r"takes items: put it after ops\.scrape\(…\) in the pipe"
    with pytest.raises(FlowError, match=said):
        start.pipe(operator, ops.download(fetch=fetch))
    with pytest.raises(FlowError, match=said):
        start.pipe(ops.download(fetch=fetch), operator, ops.scrape(parse))
    start.pipe(ops.download(fetch=fetch), operator)  # with no scrape, the responses are the items


def test_an_operator_of_reactivex_is_told_as_such() -> None:
    for name in ("filter", "map"):
        with pytest.raises(AttributeError, match=rf"it is reactivex's, .*write rx\.{name}\(…\)"):
            getattr(ops, name)
    with pytest.raises(AttributeError, match=r"has no attribute 'throtle'$"):
        _ = _any(ops).throtle
    assert not hasattr(ops, "__wrapped__")


def merged(item: Any) -> Any:
    return {**item, "x": 1}


def replaced(item: Any) -> Any:
    return {"x": 1}


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (merged, r"raised TypeError: .*test_wrong_pipes\.py:\d+, in merged\): an operator takes a stream"),
        (replaced, r"gave \{'x': 1\}, and no stream: .* write ops\.on_item\(…\)"),
    ],
)
def test_a_function_of_an_item_is_no_operator(operator: Any, said: str) -> None:
    crawl = Crawl("http://a.test/").pipe(ops.download(fetch=fetch), ops.scrape(parse), operator)
    with pytest.raises(FlowError, match=said):
        crawl.run()


def test_a_list_of_links_wants_yield_from() -> None:
    def several(page: Any) -> Any:
        yield page.follow_all(css="a") * 100

    errors: list[str] = []

    def note(event: CallbackFailed) -> None:
        errors.append(str(event.error))

    crawl = Crawl("http://a.test/").pipe(ops.download(fetch=fetch), ops.scrape(several))
    crawl.events.on(CallbackFailed, note)
    crawl.run()
    assert len(errors) == 1
    assert "to give each of what is in it, write `yield from`" in errors[0]
    assert "test_wrong_pipes.py:" in errors[0]
    assert len(errors[0]) < 600


def test_a_run_that_nobody_listens_to_logs_what_goes_wrong(caplog: pytest.LogCaptureFixture) -> None:
    async def refused(request: Request) -> Response:
        if request.url.endswith("/1"):
            raise ValueError("no route")
        return await fetch(request)

    def wrong(page: Any) -> Any:
        yield page.follow("/1")
        raise KeyError("price")

    pipe = (ops.download(fetch=refused), ops.scrape(wrong))
    summary = Crawl("http://a.test/").pipe(*pipe).run()
    assert (summary.failed, summary.counts.callback_errors) == (1, 1)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "streamcrawl"]
    assert [level for level, _ in lines] == ["ERROR", "WARNING"]
    assert "http://a.test/ raised KeyError: 'price'" in lines[0][1]
    assert "test_wrong_pipes.py:" in lines[0][1]
    assert "no route" in lines[1][1]
    caplog.clear()
    Crawl("http://a.test/").pipe(*pipe).run(lambda run: None)
    assert not caplog.records


def test_a_file_that_failed_is_told(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    def with_files(page: Any) -> Any:
        return {"file_urls": ["/relative.png"]}

    pipe = (ops.download(fetch=fetch), ops.scrape(with_files), ops.files(str(tmp_path)))
    summary = Crawl("http://a.test/").pipe(*pipe).run()
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == ["file failed"]
    assert "/relative.png" in caplog.text
    assert "trouble: 1 file failed" in str(summary)


def _any(value: object) -> Any:
    return value
