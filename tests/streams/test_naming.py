"""What an operator is called when something is told about it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import operators as ops
from streamcrawl.streams.layer import Hooks, layer
from streamcrawl.streams.naming import name_of


def keep(item: Any) -> bool:
    return True


def total(sum_: Any, item: Any) -> Any:
    return item


def own_operator(source: Observable[Any]) -> Observable[Any]:
    return source


class Doubling:
    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        return source


LINE = keep.__code__.co_firstlineno
HERE = f"test_naming.py:{LINE}"


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        (rx.filter(keep), f"filter(keep at {HERE})"),
        (rx.map(keep), f"map(keep at {HERE})"),
        (rx.distinct(key_mapper=keep), f"distinct(keep at {HERE})"),
        (rx.take(3), "take"),
        (rx.delay(1.0), "delay"),
        (rx.scan(total), f"scan(total at test_naming.py:{total.__code__.co_firstlineno})"),
        (reactivex.compose(rx.map(keep), rx.take(3)), f"map(keep at {HERE})+take"),
        (own_operator, f"own_operator at test_naming.py:{own_operator.__code__.co_firstlineno}"),
        (Doubling(), "doubling"),
        (functools.partial(own_operator), "partial"),
        (ops.map_async(keep), f"map_async(keep at {HERE})"),
        (ops.on_item(keep), f"on_item(keep at {HERE})"),
        (ops.batch(5), "batch(5)"),
        (ops.strict(rx.filter(keep)), f"filter(keep at {HERE})"),
        (ops.down(rx.filter(keep)), f"down(filter(keep at {HERE}))"),
        (ops.up(ops.strict(rx.filter(keep))), f"up(filter(keep at {HERE}))"),
        (layer("mine", lambda run: Hooks()), "mine"),
        (ops.download(), "download"),
        (ops.scrape(keep), "scrape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_operator_is_named_with_the_users_function_in_it(operator: Any, name: str) -> None:
    assert name_of(operator) == name


def test_a_lambda_is_named_by_its_place() -> None:
    assert name_of(rx.filter(lambda item: True)).startswith("filter(<lambda> at test_naming.py:")


@pytest.mark.parametrize("odd", [None, 3, "text", object(), "text".upper, len])
def test_whatever_it_is_given_it_gives_a_name(odd: Any) -> None:
    assert name_of(odd)
