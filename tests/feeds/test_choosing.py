"""Which items a feed takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx

from feeds.reading import items_in
from streamcrawl.feeds.choosing import chosen
from streamcrawl.operators.feed import feed


@dataclass
class Book:
    title: str


@dataclass
class Novel(Book):
    pages: int = 100


@dataclass
class Author:
    name: str


class LongOnes:
    """A filter as Scrapy has them."""

    def __init__(self, feed_options: dict[str, Any]) -> None:
        self.classes = feed_options["item_classes"]

    def accepts(self, item: Any) -> bool:
        return len(item.title) > 3


class NoArguments:
    def accepts(self, item: Any) -> bool:
        return bool(item.title == "Tea")


def is_tea(item: Any) -> bool:
    return bool(item.title == "Tea")


ITEMS = [Book("Tea"), Novel("Coffee"), Author("Ada"), {"title": "Tea"}]


def test_feeds_by_class_in_one_flow(tmp_path: Path) -> None:
    passed: list[Any] = []
    rx.from_iterable([*ITEMS, [Book("Milk"), Author("Ben")]]).pipe(
        feed(tmp_path / "books.jsonl", item_classes=Book),
        feed(tmp_path / "authors.csv", item_classes=[Author]),
        feed(tmp_path / "all.jsonl", item_classes=(Book, Author, dict)),
        feed(tmp_path / "none.json", item_classes="decimal.Decimal"),
    ).subscribe(passed.append)
    assert passed == [*ITEMS, [Book("Milk"), Author("Ben")]], "every item is passed on"
    assert [each["title"] for each in items_in(tmp_path / "books.jsonl")] == ["Tea", "Coffee", "Milk"]
    assert [each["name"] for each in items_in(tmp_path / "authors.csv")] == ["Ada", "Ben"]
    assert len(items_in(tmp_path / "all.jsonl")) == 6
    assert items_in(tmp_path / "none.json") == []


@pytest.mark.parametrize("test", [is_tea, NoArguments, NoArguments()])
def test_filters_are_functions_or_have_accepts(test: Any) -> None:
    wanted = chosen(Book, test)
    assert wanted is not None
    assert [item for item in ITEMS if wanted(item)] == [Book("Tea")]


def test_a_filter_of_scrapy() -> None:
    wanted = chosen([Book], LongOnes)
    assert wanted is not None
    assert [item for item in ITEMS if wanted(item)] == [Novel("Coffee")]


def test_import_paths() -> None:
    wanted = chosen("collections.OrderedDict", "operator.truth")
    assert wanted is not None
    assert not wanted({"title": "Tea"})
    assert chosen(None, None) is None


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"item_classes": []}, ValueError, "classes of items, at least one"),
        ({"item_classes": [3]}, ValueError, "classes of items, at least one"),
        ({"item_classes": "no.such.Item"}, ValueError, "item_classes='no.such.Item': cannot be imported"),
        ({"item_filter": "noname"}, ValueError, "item_filter='noname': cannot be imported"),
        ({"item_filter": 3}, TypeError, "a function of an item, or its import path"),
        ({"item_filter": Book}, TypeError, "Book"),
    ],
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        feed("a.jsonl", **arguments)
