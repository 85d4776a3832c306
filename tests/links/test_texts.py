"""The texts of links that lie in one another: whole where it is a page's slip, bounded where it is made to do harm."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from streamcrawl import Headers, Response
from streamcrawl.links import LinkExtractor, texts


def html(body: str) -> Response:
    return Response("http://a.test/", headers=Headers({"Content-Type": "text/html; charset=utf-8"}), body=body.encode())


NESTED = "<a href=/1>1<div>2<a href=/2>3<b>4</b><!-- no --><div>5<a href=/3>6<i>7</i>8</a>9</div></a>0</div></a>"


def test_a_link_in_a_link_has_its_own_text_and_the_outer_one_both() -> None:
    links = LinkExtractor().extract_links(html(NESTED + "<a href=/4>4<b>!</b></a>"))
    assert [(link.url[-1], link.text) for link in links] == [
        ("1", "1234567890"),
        ("2", "3456789"),
        ("3", "678"),
        ("4", "4!"),
    ]


@pytest.mark.parametrize("options", [{}, {"unique": False}, {"tags": "*", "attrs": "*"}], ids=str)
def test_texts_are_those_that_xpath_gives(options: dict[str, bool]) -> None:
    response = html(NESTED + NESTED.replace("/", "/x"))
    wanted = {each.attrib["href"]: each.xpath("string()").get() for each in response.css("a[href]")}
    links = LinkExtractor(**options, deny_attrs="name").extract_links(response)  # type: ignore[arg-type]
    assert {link.url.removeprefix("http://a.test"): link.text for link in links} == wanted


def test_texts_by_two_attributes_of_one_element_are_the_same() -> None:
    links = LinkExtractor(tags="q", attrs=("cite", "href")).extract_links(html("<q href=/1 cite=/2>a<b>b</b></q>"))
    assert [link.text for link in links] == ["ab", "ab"]


def test_a_link_in_one_that_is_not_wanted_has_its_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "STEPS", 0)
    assert [link.text for link in LinkExtractor(deny="/[12]").extract_links(html(NESTED))] == ["678"]
    assert [link.text for link in LinkExtractor(deny="/1").extract_links(html(NESTED))] == ["3456789", ""]


def test_the_texts_of_nested_links_are_cut_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "CHARACTERS", 7)
    page = "<a href=/1>abc<div><a href=/2>def<div><a href=/3>ghi<b>j</b>"
    assert [link.text for link in LinkExtractor().extract_links(html(page))] == ["abcdefghij", "defghij", ""]
    monkeypatch.setattr(texts, "CHARACTERS", 9)
    assert [link.text for link in LinkExtractor().extract_links(html(page))] == ["abcdefghij", "defghij", "gh"]
    monkeypatch.setattr(texts, "STEPS", 2)
    assert [link.text for link in LinkExtractor().extract_links(html(page))] == ["abcdefghij", "def", ""]


def test_links_around_megabytes_of_text_take_the_time_and_memory_of_the_page() -> None:
    """A thousand of them, each around the next and 2 MB: their texts would be 2 GB."""
    response = html("".join(f"<a href=/{n}><div>" for n in range(1000)) + "<b>text text</b>" * 130_000)
    _ = response.selector
    tracemalloc.start()
    began = time.process_time()
    try:
        links = LinkExtractor().extract_links(response)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(links) == 1000
    assert links[0].text == "text text" * 130_000
    assert all(links[0].text.startswith(link.text) for link in links)
    assert peak < 20_000_000
    assert time.process_time() - began < 10
