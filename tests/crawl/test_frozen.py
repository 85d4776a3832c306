"""What the garbage collector has to look through while a crawl runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.leases import Extent


async def fetch(request: Request) -> Response:
    return Response(request.url, request=request, body=b"<p>")


@pytest.fixture
def thawed() -> Iterator[None]:
    """Nothing is frozen before and after, and nothing is collected by itself meanwhile."""
    gc.unfreeze()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_was_there_before_a_run_is_passed_over_until_its_end() -> None:
    seen: list[int] = []

    def parse(page: Any) -> Iterator[Any]:
        seen.append(gc.get_freeze_count())
        yield {"url": page.url}

    crawl = Crawl("http://a.test/").pipe(ops.download(fetch=fetch), ops.scrape(parse))
    before = len(gc.get_objects())
    assert crawl.run().pages == 1
    assert 0.9 * before < seen[0] < 1.1 * before
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("thawed")
def test_a_program_that_froze_objects_itself_is_left_alone() -> None:
    def parse(page: Any) -> Any:
        return {"url": page.url}

    gc.freeze()
    count = gc.get_freeze_count()
    Crawl("http://a.test/").pipe(ops.download(fetch=fetch), ops.scrape(parse)).run()
    assert count > 0.9 * gc.get_freeze_count() > 0


@pytest.mark.parametrize(("before", "meanwhile"), [(700, 5_000), (50_000, 50_000), (0, 0)])
def test_young_objects_are_looked_at_less_often_while_a_run_lasts(before: int, meanwhile: int) -> None:
    seen: list[tuple[int, int, int]] = []

    def parse(page: Any) -> Any:
        seen.append(gc.get_threshold())
        return {"url": page.url}

    own = gc.get_threshold()
    gc.set_threshold(before, 7, 8)
    try:
        Crawl("http://a.test/").pipe(ops.download(fetch=fetch), ops.scrape(parse)).run()
        after = gc.get_threshold()
    finally:
        gc.set_threshold(*own)
    assert seen == [(meanwhile, 7, 8)]
    assert after == (before, 7, 8)


@pytest.mark.usefixtures("thawed")
def test_a_page_is_no_garbage_for_the_collector() -> None:
    def left_by(pages: int) -> int:
        def parse(page: Any) -> Iterator[Any]:
            yield {"url": page.url}
            number = int(page.url.rpartition("/")[2] or 1)
            if number < pages:
                yield page.follow(f"/{number + 1}")

        gc.collect()
        assert Crawl("http://a.test/").pipe(ops.download(fetch=fetch), ops.scrape(parse)).run().pages == pages
        return gc.collect()

    left_by(1)  # what is made once
    # The run itself goes with all that it remembers. A page that were a circle would leave several objects of its own.
    assert left_by(300) < left_by(1) + 2 * 300


def test_an_extent_is_no_circle() -> None:
    gc.collect()
    extent = Extent((), 1)
    extent.further(1, 1).hold()
    assert extent.holds == 1
    del extent
    assert gc.collect() == 0
