"""validate: models of every kind, what becomes of rejects, and that nothing vanishes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
import reactivex
from pydantic.dataclasses import dataclass as checked_dataclass
from reactivex import operators as rx
from reactivex.subject import Subject

from streamcrawl import Crawl, Summary
from streamcrawl import operators as ops
from streamcrawl.errors import FlowError
from streamcrawl.events import ItemDropped, ItemFailed
from streamcrawl.items import Field, Item
from streamcrawl.testing import FakeFetch, run_virtual
from streamcrawl.validating import ItemRejected, Rejected


@dataclass
class Offer:
    shop: str
    price: float


@dataclass
class Data:
    name: str
    price: float = 0.0
    day: date | None = None
    offers: list[Offer] = field(default_factory=list[Offer])


class Struct(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    price: float = 0.0
    day: date | None = None
    offers: list[Offer] = []


@attrs.frozen
class Attrs:
    name: str = attrs.field(converter=str)
    price: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    day: date | None = None
    offers: list[Offer] = attrs.field(factory=list[Offer])


class Model(pydantic.BaseModel):
    name: str
    price: float = 0.0
    day: date | None = None
    offers: list[Offer] = []


@checked_dataclass
class Checked:
    name: str
    price: float = 0.0
    day: date | None = None
    offers: list[Offer] = field(default_factory=list[Offer])


class Typed(TypedDict, total=False):
    name: str
    price: float
    day: date
    offers: list[Offer]


class Declared(Item):
    name = Field()
    price = Field()


MODELS: list[Any] = [Data, Struct, Attrs, Model, Checked, Typed]


def validated(model: Any, *items: Any, **options: Any) -> tuple[list[Any], list[Rejected]]:
    """What goes on, and what is rejected, with no crawl around it."""
    letters: list[Rejected] = []
    found: list[Any] = []

    async def main() -> None:
        checked = ops.validate(model, dead_letters=letters.append, **options)
        await reactivex.from_iterable(items).pipe(checked, rx.do_action(found.append), rx.default_if_empty(None))

    run_virtual(main)
    return found, letters


@pytest.mark.parametrize("model", MODELS)
def test_valid_items_become_objects_of_the_model(model: Any) -> None:
    given = {"name": "Odes", "price": "2.5", "day": "2024-05-06", "offers": [{"shop": "a", "price": 1}]}
    found, letters = validated(model, given)
    assert letters == []
    assert found == [model(name="Odes", price=2.5, day=date(2024, 5, 6), offers=[Offer("a", 1.0)])]
    if model is not Typed:
        assert type(found[0]) is model


@pytest.mark.parametrize("item", [Offer("a", 1), Declared(name="a", price=1), {"name": "a", "price": 1}])
@pytest.mark.parametrize("model", MODELS)
def test_items_of_every_kind_are_checked_as_they_are_left_or_not(model: Any, item: Any) -> None:
    found, letters = validated(model, item, output="item")
    if isinstance(item, Offer) and model is not Typed:
        assert found == []
        assert letters[0].field == ("shop" if model is Struct else "name")
    else:
        assert found == [item]
        assert found[0] is item


@pytest.mark.parametrize("model", [Data, Struct])
def test_objects_that_nobody_checked_when_they_were_made_are_checked(model: Any) -> None:
    found, letters = validated(model, model(name="a", price="x"), model(name="b", price="3"))
    assert found == [model(name="b", price=3.0)]
    assert letters[0].errors == {"price": "Expected `float`, got `str`"}
    nested = model(name="c", offers=[Offer("a", "x")])  # type: ignore[arg-type]
    assert list(validated(model, nested)[1][0].errors) == ["offers[0].price"]


@pytest.mark.parametrize(
    ("model", "item", "errors"),
    [
        (Data, {"price": 1}, {"name": "Object missing required field `name`"}),
        (Struct, {"name": "a", "prize": 1}, {"prize": "Object contains unknown field `prize`"}),
        (Model, {"name": 1, "price": "x"}, {"name": "Input should be a valid string", "price": ...}),
        (Model, {"name": "a", "offers": [{"shop": "a"}]}, {"offers[0].price": "Field required"}),
        (Checked, {"price": 1}, {"name": "Field required"}),
        (Attrs, {"name": "a", "price": -1}, {"price": "'price' must be >= 0: -1.0"}),
        (Attrs, {"name": "a", "price": "x"}, {"price": "Expected `float`, got `str`"}),
        (Data, ["a"], {"": "TypeError: no item: list"}),
        (Model, 7, {"": "TypeError: no item: int"}),
    ],
)
def test_what_is_wrong_is_told_by_field(model: Any, item: Any, errors: dict[str, Any]) -> None:
    found, letters = validated(model, item)
    assert found == []
    letter = letters[0]
    assert letter.item is item
    assert letter.model == model.__name__
    assert list(letter.errors) == list(errors)
    for place, why in errors.items():
        assert why is ... or letter.errors[place].replace("array", "list") == why
        assert f"{place}: " in letter.reason if place else letter.reason == why


def test_a_model_that_raises_whatever_rejects_the_item() -> None:
    class Odd(pydantic.BaseModel):
        name: str

        @pydantic.field_validator("name")
        @classmethod
        def broken(cls, value: str) -> str:
            raise LookupError(value)

    found, letters = validated(Odd, {"name": "a"})
    assert found == []
    assert letters[0].errors == {"": "LookupError: a"}


@pytest.mark.parametrize("model", [Data, Struct, Attrs, Model, Typed])
def test_strict_converts_nothing(model: Any) -> None:
    found, letters = validated(model, {"name": "a", "price": "1"}, {"name": "b", "price": 1.0}, strict=True)
    assert len(found) == 1
    assert [letter.field for letter in letters] == ["price"]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((dict,), TypeError, "validate.*dict.*: a class of pydantic"),
        ((Data("a"),), TypeError, "a class of pydantic"),
        ((Declared,), TypeError, "a class of pydantic"),
        ((len,), TypeError, "a class of pydantic"),
        ((Checked,), TypeError, "in its own config"),
    ],
)
def test_what_is_no_model_is_told_at_once(arguments: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ops.validate(*arguments, strict=arguments == (Checked,))


def test_other_arguments_are_checked_at_once() -> None:
    with pytest.raises(ValueError, match=r"output='dict'\): one of model, item"):
        ops.validate(Data, output="dict")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"dead_letters=7"):
        ops.validate(Data, dead_letters=7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an operator, a list of them"):
        ops.validate(Data, dead_letters=[7])  # type: ignore[list-item]

    async def later(letter: Any) -> None:
        raise AssertionError(letter)

    with pytest.raises(TypeError, match="nobody awaits it"):
        ops.validate(Data, dead_letters=later)


PAGE = "<b>1</b><b>two</b><b>3</b><b>four</b>"
SITE = {"/": f'{PAGE}<a href="/more">', "/more": PAGE}


def crawled(*operators: Any, **options: Any) -> tuple[Summary, list[Any], list[Any]]:
    told: list[Any] = []

    def parse(page: Any) -> Any:
        for price in page.css("b::text").getall():
            yield {"name": "x", "price": price}
        yield from page.follow_all(css="a")

    crawl = Crawl("https://shop.test/", **options).pipe(
        ops.download(fetch=FakeFetch(SITE)), ops.scrape(parse), *operators
    )

    async def main() -> tuple[Summary, list[Any], list[Any]]:
        items: list[Any] = []
        run = crawl.start(items.append)
        for kind in (ItemRejected, ItemDropped, ItemFailed):
            run.events.on(kind, told.append)
        return await run, items, told

    return run_virtual(main)


def test_rejects_are_counted_and_told_with_their_page() -> None:
    summary, items, told = crawled(ops.validate(Data))
    assert [item.price for item in items] == [1.0, 3.0, 1.0, 3.0]
    assert summary.stats["items_dropped/invalid Data: price"] == 4
    assert summary.stats["items_dropped"] == 4
    rejected = [event.rejected for event in told if isinstance(event, ItemRejected)]
    assert [letter.url for letter in rejected] == ["https://shop.test/"] * 2 + ["https://shop.test/more"] * 2
    assert rejected[0].reason == "price: Expected `float`, got `str`"
    assert len([event for event in told if isinstance(event, ItemDropped)]) == 4


@pytest.mark.parametrize("job", [False, True])
def test_dead_letters_into_a_feed(tmp_path: Path, job: bool) -> None:
    options = {"job": tmp_path / "job"} if job else {}
    bad, good = tmp_path / "bad.jsonl", tmp_path / "good.jsonl"
    summary, _, _ = crawled(ops.validate(Data, dead_letters=ops.feed(bad)), ops.feed(good), **options)
    assert summary.error is None
    letters = [json.loads(line) for line in bad.read_text().splitlines()]
    assert [letter["item"]["price"] for letter in letters] == ["two", "four"] * 2
    assert letters[0] == {
        "item": {"name": "x", "price": "two"},
        "reason": "price: Expected `float`, got `str`",
        "errors": {"price": "Expected `float`, got `str`"},
        "model": "Data",
        "url": "https://shop.test/",
    }
    assert len(good.read_text().splitlines()) == 4
    if job:
        again, items, _ = crawled(ops.validate(Data, dead_letters=ops.feed(bad)), ops.feed(good), **options)
        assert (again.reason, items, len(bad.read_text().splitlines())) == ("already finished", [], 4)


def says_two(letter: Rejected) -> bool:
    return bool(letter.item["price"] == "two")


def of_letter(letter: Rejected) -> Any:
    return letter.item


def test_dead_letters_through_operators_and_to_an_observer(tmp_path: Path) -> None:
    seen: list[str] = []
    subject: Subject[Rejected] = Subject()
    subject.subscribe(lambda letter: seen.append(letter.item["price"]))
    bad = tmp_path / "bad.csv"
    pipe: list[Any] = [rx.filter(says_two), rx.map(of_letter), ops.feed(bad)]
    crawled(ops.validate(Data, dead_letters=pipe), ops.validate(Data, dead_letters=subject))
    assert bad.read_text().splitlines() == ["name,price", "x,two", "x,two"]
    assert seen == []  # the first one has let none pass
    crawled(ops.validate(Data, dead_letters=subject))
    assert seen == ["two", "four"] * 2


def test_a_failing_listener_is_told_and_stops_nothing() -> None:
    def full(letter: Rejected) -> None:
        raise OSError("the disk is full")

    summary, items, told = crawled(ops.validate(Data, dead_letters=full))
    assert len(items) == 4
    assert summary.stats["items_failed"] == 4
    failed = [event for event in told if isinstance(event, ItemFailed)]
    assert "validate(Data), dead_letters: OSError: the disk is full" in str(failed[0].error)


def test_two_sinks_on_one_file_are_refused(tmp_path: Path) -> None:
    bad = ops.feed(tmp_path / "all.jsonl")
    with pytest.raises(FlowError, match="two sinks write to"):
        crawled(ops.validate(Data, dead_letters=bad), bad)
