"""check_scrape_layer: the layers that are shipped keep the laws, and what is broken is caught, one law at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import operators as ops
from streamcrawl.core import Done, Failed, Request, Run, ScrapeInput, ScrapeLayer, Scraper
from streamcrawl.errors import Drop
from streamcrawl.response import Response
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer
from streamcrawl.testing import ContractBroken, check_scrape_layer, contract_scrape, laws


def lesser(page: str, target: str) -> str | None:
    return page if page < target else None


SHIPPED: dict[str, Callable[[], ScrapeLayer]] = {
    "copied_fields": ops.copied_fields,
    "copied_fields, some": lambda: ops.copied_fields(ignore=("via",)),
    "depth": ops.depth,
    "depth, all of it": lambda: ops.depth(limit=2, priority=1, verbose=True),
    "http_error": ops.http_error,
    "http_error, wide": lambda: ops.http_error(allow=(404,)),
    "http_error, any": lambda: ops.http_error(allow="any"),
    "referer": ops.referer,
    "referer, scrapy": lambda: ops.referer("scrapy-default"),
    "referer, own": lambda: ops.referer(lesser),
    "scope_links": lambda: ops.scope_links("a.example", deny=re.compile("x{1000}")),
    "start_mark": ops.start_mark,
    "url_length": ops.url_length,
    "url_length, none": lambda: ops.url_length(0),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_layer_keeps_the_laws(name: str) -> None:
    report = check_scrape_layer(SHIPPED[name])
    assert report.scenarios == 4
    assert report.came["Done"] == 4 * 23
    assert report.came["Request"] > 100
    assert report.came["dict"] > 4 * 200


def test_no_shipped_layer_is_left_out() -> None:
    import streamcrawl.operators

    made = re.compile(r"-> NamedScrapeLayer:")
    files = Path(streamcrawl.operators.__path__[0]).glob("[a-z]*.py")
    layers = {path.stem for path in files if made.search(path.read_text("utf-8"))}
    assert layers == {name.partition(",")[0] for name in SHIPPED}


def all_of_them(scraper: Scraper) -> Scraper:
    for make in SHIPPED.values():
        scraper = make()(scraper)
    return scraper


def by_hooks(**hooks: Any) -> NamedScrapeLayer:
    return scrape_layer("mine", lambda run: ScrapeHooks(**hooks))


async def passing(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
    async for output in outputs:
        yield output
        if not isinstance(output, Request) and output.get("n") == 1:
            yield {"after": output["n"]}
    await asyncio.sleep(3)
    yield {"end": page.request.url}


def mending(error: Exception, page: ScrapeInput) -> list[Any]:
    return [{"instead": str(error)}, Request("http://a.example/instead")]


def wrong(error: Exception, page: ScrapeInput) -> Any:
    return 5


async def breaking(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
    async for output in outputs:
        yield output
    raise ValueError("the end")


def raising(page: ScrapeInput) -> ScrapeInput:
    if isinstance(page, Response) and page.url.endswith("s"):
        raise Drop("none of these") if page.status == 200 else KeyError("odd")
    return page


def marking(scraper: Scraper) -> Scraper:
    def mark(output: Any) -> Any:
        return output if isinstance(output, Request | Done) else output | {"seen": 1}

    def layered(inputs: Observable[ScrapeInput]) -> Observable[Any]:
        return scraper(inputs).pipe(rx.map(mark))

    return layered


def as_it_is(output: Any, page: ScrapeInput) -> Any:
    return output


RIGHT: dict[str, Callable[[], ScrapeLayer]] = {
    "none": lambda: by_hooks(),
    "output": lambda: by_hooks(output=passing),
    "exception": lambda: by_hooks(exception=mending),
    "exception, wrong": lambda: by_hooks(exception=wrong),
    "all hooks": lambda: by_hooks(output=passing, exception=mending, input=raising, request=as_it_is),
    "output that breaks off": lambda: by_hooks(output=breaking),
    "input": lambda: by_hooks(input=raising),
    "all together": lambda: all_of_them,
    "by hand": lambda: marking,
    "by hand, around others": lambda: lambda scraper: marking(by_hooks(output=passing)(scraper)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_layers_that_are_right_pass(name: str) -> None:
    report = check_scrape_layer(RIGHT[name], seeds=range(2))
    assert report.came["Done"] == 2 * 23


def test_a_layer_may_be_given_as_it_is() -> None:
    assert check_scrape_layer(by_hooks(output=passing), seeds=[0]).subject == "scrape layer mine"
    assert check_scrape_layer(marking, seeds=[0]).subject == "scrape layer marking"


# -- broken ones ------------------------------------------------------------------------------------------------------


def by_hand(*operators: Any) -> Callable[[], ScrapeLayer]:
    def mine(scraper: Scraper) -> Scraper:
        return lambda inputs: scraper(inputs).pipe(*operators)

    return lambda: mine


def no_done(output: Any) -> bool:
    return not isinstance(output, Done) or output.error is None


def with_a_late_item(output: Any) -> Observable[Any]:
    return reactivex.of(output, {"late": 1}) if isinstance(output, Done) else reactivex.of(output)


def twice(output: Any) -> Observable[Any]:
    return reactivex.of(output) if isinstance(output, Request | Done) else reactivex.of(output, output)


def junk(output: Any) -> Any:
    return output if isinstance(output, Request | Done) else 5


def first_of(output: Any) -> Any:
    return output["n"]


def counting_all_runs() -> ScrapeLayer:
    seen = count()

    def item(output: Any, page: ScrapeInput) -> Any:
        return output | {"nth": next(seen)}

    return by_hooks(item=item)


def by_chance() -> ScrapeLayer:
    def item(output: Any, page: ScrapeInput) -> Any:
        return output | {"id": SystemRandom().random()}

    return by_hooks(item=item)


def mutating(link: Request, page: ScrapeInput) -> Request:
    link.meta["depth"] = 1
    return link


def shifting() -> ScrapeLayer:
    """Numbers shift when the first items are safe: it counts what passes in a crawl, not on a page."""

    def make(run: Run) -> ScrapeHooks:
        nth = count()

        def item(output: Any, page: ScrapeInput) -> Any:
            return output | {"nth": next(nth)}

        return ScrapeHooks(item=item)

    return scrape_layer("shifting", make)


async def greedy(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
    for output in [each async for each in outputs]:
        yield output


def leaving() -> ScrapeLayer:
    def make(run: Run) -> ScrapeHooks:
        async def stay() -> None:
            await asyncio.sleep(1e6)

        kept: list[Any] = []

        def given(page: ScrapeInput) -> ScrapeInput:
            kept.append(asyncio.get_running_loop().create_task(stay()))
            return page

        return ScrapeHooks(input=given)

    return scrape_layer("leaving", make)


def answering(output: Any) -> Any:
    return Done(Failed(Request("http://b.example/"), ValueError("x"))) if isinstance(output, Done) else output


KEPT = counting_all_runs()
BROKEN: dict[str, tuple[Callable[[], ScrapeLayer], str, str]] = {
    "swallows Dones": (by_hand(rx.filter(no_done)), contract_scrape.ONE_DONE, "without a Done"),
    "items after Done": (by_hand(rx.flat_map(with_a_late_item)), contract_scrape.ONE_DONE, "after the Done"),
    "items twice": (by_hand(rx.flat_map(twice)), contract_scrape.EXTENT, "two items of ordinal 0"),
    "another Done": (by_hand(rx.map(answering)), contract_scrape.ONE_DONE, "for another input"),
    "junk": (by_hand(rx.map(junk)), laws.VALUES, "emitted 5"),
    "raises": (by_hand(rx.map(first_of)), laws.VALUES, "ended with|raised"),
    "ends early": (by_hand(rx.take(5)), contract_scrape.ONE_DONE, "without a Done for every input"),
    "state": (lambda: KEPT, laws.STATE, "second run of one layer object"),
    "chance": (by_chance, laws.CHANCE, "made anew"),
    "mutates": (lambda: by_hooks(request=mutating), contract_scrape.COPIES, "changed the meta"),
    "shifts": (shifting, contract_scrape.RESUMED, "whose first 1 items were safe"),
    "greedy": (lambda: by_hooks(output=greedy), contract_scrape.DEMAND, "had asked for"),
    "leaves tasks": (leaving, laws.LEFT, "left 23 tasks"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_layer_is_caught(name: str) -> None:
    make, law, match = BROKEN[name]
    with pytest.raises(ContractBroken, match=match) as caught:
        check_scrape_layer(KEPT if name == "state" else make)
    assert caught.value.law == law, str(caught.value)
