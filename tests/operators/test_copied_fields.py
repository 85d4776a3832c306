"""copied_fields: a link made of its page's request carries what happened to that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.events import Notice
from streamcrawl.retrying import get_retry_request
from streamcrawl.testing import FakeFetch, page, run_virtual

URL = "http://a.test/"
MOVED = page(status=302, headers={"Location": "/here"})


def notices(callback: Callable[[Response], Any], *layers: Any) -> list[str]:
    """What is told of links that `callback` makes of a page that was redirected to and came at the second try."""
    told: list[str] = []
    crawl = Crawl(URL).pipe(
        ops.download(fetch=FakeFetch({"/": MOVED, "/here": [page(status=503), "here"], "/a": "a", "/b": "b"})),
        ops.scrape(callback, *layers),
    )

    async def main() -> Any:
        run = crawl.start()
        run.events.on(Notice, lambda event: told.append(f"{event.level}: {event.text}"))
        return await run

    assert run_virtual(main).ok
    return told


def replacing(response: Response) -> Any:
    if response.url == f"{URL}here":
        yield response.request.replace(url=f"{URL}a")
        yield response.request.replace(url=f"{URL}b")


WARNING = (
    f"warning: {URL}a carries via, attempt of the request for {URL}here, as page.request.replace(url=…) gives; "
    "make links with page.follow(…). No more is said of such links"
)


def test_it_is_told_once() -> None:
    assert notices(replacing) == [WARNING]


def test_fields_that_are_copied_on_purpose_are_not_told_of() -> None:
    assert notices(replacing, ops.copied_fields(ignore=["via"])) == [WARNING.replace("via, ", "")]
    assert notices(replacing, ops.copied_fields(ignore=("via", "attempt"))) == []


def test_a_referrer_that_is_the_pages_own() -> None:
    def linking(response: Response) -> Any:
        if response.url == f"{URL}here":
            yield response.follow("/a")
        elif response.url == f"{URL}a":
            yield response.request.replace(url=f"{URL}b")

    (told,) = notices(linking)
    assert told.startswith(f"warning: {URL}b carries referrer of the request for {URL}a")


def following(response: Response) -> Any:
    yield from response.follow_all(["/a", "/b"])


def asking_again(response: Response) -> Any:
    if response.request.attempt < 2:
        yield get_retry_request(response.request, times=5)
        yield response.request.replace(dont_filter=True, attempt=2)


def from_scratch(response: Response) -> Any:
    yield Request(f"{URL}a", referrer="http://elsewhere.test/", attempt=5)


@pytest.mark.parametrize("callback", [following, asking_again, from_scratch])
def test_links_of_their_own_and_the_same_page_once_more_are_fine(callback: Any) -> None:
    assert notices(callback) == []


def test_what_has_happened_counts_for_the_link_as_the_warning_says() -> None:
    seen: dict[str, Any] = {}

    def parse(response: Response) -> Any:
        seen[response.url] = (response.request.via, response.request.attempt)
        yield from replacing(response)

    notices(parse)
    assert seen[f"{URL}a"] == seen[f"{URL}here"] == ((URL,), 1)


def test_arguments_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match="depth is none of via, attempt, referrer"):
        ops.copied_fields(ignore=("depth", "via"))
