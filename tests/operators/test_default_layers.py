"""The layers of a polite crawler, and how to change some of them."""

from __future__ import annotations

import pytest

from streamcrawl import operators as ops
from streamcrawl.core import Layer
from streamcrawl.streams.layer import Hooks, layer

PLACES = [
    "scope",
    "guard",
    "user_agent",
    "robots_txt",
    "http_auth",
    "default_headers",
    "timeout",
    "size_limit",
    "conditional",
    "retry",
    "ajax_crawl",
    "meta_refresh",
    "redirect",
    "cookies",
    "http_cache",
    "proxy",
    "throttle",
    "decompress",
    "download_stats",
]
DEFAULT = [
    "robots_txt",
    "default_headers",
    "conditional",
    "retry",
    "meta_refresh",
    "redirect",
    "cookies",
    "proxy",
    "download_stats",
]


def names(layers: tuple[Layer, ...]) -> list[str]:
    return [str(getattr(each, "name", each)) for each in layers]


def mine(name: str = "mine") -> Layer:
    return layer(name, lambda run: Hooks())


def test_the_outermost_stands_first() -> None:
    assert names(ops.default_layers()) == DEFAULT


def test_every_place_can_be_filled_and_keeps_its_order() -> None:
    assert names(ops.default_layers(**{name: mine(name) for name in reversed(PLACES)})) == PLACES


@pytest.mark.parametrize("name", PLACES)
def test_every_place_can_be_emptied(name: str) -> None:
    assert names(ops.default_layers(**{name: None})) == [each for each in DEFAULT if each != name]
    assert ops.default_layers(**dict.fromkeys(PLACES)) == ()


def test_a_layer_given_stands_in_the_place_of_its_argument_whatever_it_is_called() -> None:
    assert names(ops.default_layers(retry=mine())) == [each if each != "retry" else "mine" for each in DEFAULT]
    own = mine()
    assert ops.default_layers(robots_txt=own)[0] is own


def test_each_call_makes_layers_anew() -> None:
    assert not set(map(id, ops.default_layers())) & set(map(id, ops.default_layers()))


def test_a_name_that_is_no_place_is_told_with_those_that_are() -> None:
    with pytest.raises(
        ValueError, match="no default layer is called 'proxies'; the names are scope, guard, user_agent, robots_txt"
    ):
        ops.default_layers(proxies=mine())
    with pytest.raises(ValueError, match="'Retry'"):
        ops.default_layers(Retry=None)
