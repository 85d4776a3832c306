"""What counts as an item, and its fields."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from streamcrawl import Failed, Request, Response
from streamcrawl.core import Done, Start
from streamcrawl.items import as_dict, field_names, is_item, with_field


@dataclass
class Plain:
    text: str
    tags: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Frozen:
    text: str
    tags: tuple[str, ...] = ()


@attrs.define
class Attrs:
    text: str
    tags: list[str] = attrs.Factory(list[str])


@attrs.frozen
class FrozenAttrs:
    text: str
    tags: tuple[str, ...] = ()


class Struct(msgspec.Struct, frozen=True):
    text: str
    tags: tuple[str, ...] = ()


class Model(pydantic.BaseModel):
    text: str
    tags: list[str] = []


OBJECTS: list[Any] = [Plain("a"), Frozen("a"), Attrs("a"), FrozenAttrs("a"), Struct("a"), Model(text="a")]
MAPPINGS: list[Any] = [{"text": "a"}, OrderedDict(text="a"), UserDict(text="a"), MappingProxyType({"text": "a"})]


@pytest.mark.parametrize("item", OBJECTS + MAPPINGS, ids=lambda item: type(item).__name__)
def test_items_of_every_kind_have_fields_by_name(item: Any) -> None:
    assert is_item(item)
    assert as_dict(item)["text"] == "a"
    assert list(as_dict(item))[:1] == ["text"]


def test_a_dict_is_not_copied() -> None:
    item = {"text": "a"}
    assert as_dict(item) is item


@pytest.mark.parametrize(
    "other",
    ["text", b"bytes", 1, 1.5, None, True, ["a"], ("a",), {"a"}, Plain, object(), Request("https://a.example/")],
    ids=lambda other: type(other).__name__,
)
def test_what_is_no_item(other: object) -> None:
    assert not is_item(other)
    with pytest.raises(TypeError, match="no item"):
        as_dict(other)


def test_messages_are_no_items() -> None:
    request = Request("https://a.example/")
    response = Response("https://a.example/")
    assert not any(map(is_item, [response, Failed(request, ValueError()), Start(), Done(response)]))


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: type(item).__name__)
def test_a_field_is_set_in_a_copy(item: Any) -> None:
    changed = with_field(item, "tags", ["new"])
    assert type(changed) is type(item)
    assert as_dict(changed) == {"text": "a", "tags": ["new"]}
    assert list(as_dict(item)["tags"]) == []
    assert field_names(item.__class__) == ("text", "tags")


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: type(item).__name__)
def test_an_object_without_the_field_is_left_alone(item: Any) -> None:
    assert with_field(item, "images", []) is None


@pytest.mark.parametrize("item", MAPPINGS[:3], ids=lambda item: type(item).__name__)
def test_a_mapping_gets_any_field_in_a_copy(item: Any) -> None:
    changed = with_field(item, "tags", ["new"])
    assert dict(changed) == {"text": "a", "tags": ["new"]}
    assert type(changed) is type(item)
    assert dict(item) == {"text": "a"}


def test_a_mapping_that_cannot_be_changed_becomes_a_dict() -> None:
    assert with_field(MappingProxyType({"a": 1}), "b", 2) == {"a": 1, "b": 2}
