"""What makes an item a valid one: a model of pydantic, msgspec, attrs or dataclasses; and what is told of others."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias, cast, is_typeddict
from uuid import UUID

import msgspec

from streamcrawl.events import Event
from streamcrawl.items import as_dict, is_item, kind_of

Check: TypeAlias = Callable[[Any], Any]
"""Gives the item as an object of the model. Raises: whatever says that it is none."""

_KEPT = (bytes, bytearray, date, datetime, time, timedelta, Decimal, UUID)
_PLACE = re.compile(r"(?s)^(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?$")
_MISSING = re.compile(r"missing required field `([^`]+)`|unknown field `([^`]+)`")


class Rejected(msgspec.Struct, frozen=True, eq=False):
    """A dead letter: an item that its model does not allow. It is an item itself, so that a feed can take it.

    Args:
        item: As it came.
        reason: All that is wrong with it, on a line.
        errors: The same by the fields' paths, such as "offers[2].price"; "" where it is no field's.
        model: The name of the model.
        url: Of the page that the item came from.
    """

    item: Any
    reason: str
    errors: dict[str, str]
    model: str
    url: str = ""

    @property
    def field(self) -> str:
        """The first field that is wrong; "" if it is no field's fault."""
        return re.split(r"[.\[]", next(iter(self.errors), ""), maxsplit=1)[0]


class ItemRejected(Event, frozen=True):
    """`validate` kept an item that its model does not allow."""

    rejected: Rejected


def check_for(model: Any, *, strict: bool) -> Check:
    """How items are checked against `model`.

    Raises: TypeError if it is no model.
    """
    if _is_pydantic(model):
        if strict and not hasattr(model, "model_validate"):
            raise TypeError(f"validate({model!r}, strict=True): a dataclass of pydantic's says that in its own config")
        validate = _pydantic(model)
        return lambda item: validate(item if isinstance(item, model) else _plain(item), strict=strict or None)
    if not isinstance(model, type) or not (kind_of(model) in ("struct", "dataclass", "attrs") or is_typeddict(model)):
        raise TypeError(f"validate({model!r}): a class of pydantic, msgspec, attrs or dataclasses, or a TypedDict")
    kind: Any = model
    attributes: tuple[Any, ...] = getattr(kind, "__attrs_attrs__", ())
    converters = {each.name: each.converter for each in attributes if callable(each.converter)}
    validated = [each.name for each in attributes if each.validator is not None]

    def check(item: Any) -> Any:
        fields = _plain(item)
        if converters:
            fields = {**fields, **_converted(fields, converters)}
        try:
            return msgspec.convert(fields, kind, strict=strict, from_attributes=True)
        except msgspec.ValidationError as error:
            text = str(error)
            blamed = [name for name in validated if f"'{name}'" in text and " - at `" not in text]
            raise _Wrong({blamed[0]: text}) if blamed else error from None  # what a validator of attrs said

    return check


class _Wrong(ValueError):
    """What the converters or validators of single fields said."""

    def __init__(self, by_field: dict[str, str]) -> None:
        super().__init__("; ".join(by_field.values()))
        self.by_field = by_field


def _converted(fields: dict[str, Any], converters: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """What the converters give for the fields that are there. Raises: _Wrong with what all of them raised."""
    given: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, convert in converters.items():
        if name not in fields:
            continue
        try:
            given[name] = convert(fields[name])
        except Exception as error:  # of the model's own functions
            wrong[name] = _said(error)
    if wrong:
        raise _Wrong(wrong)
    return given


def _is_pydantic(model: Any) -> bool:
    return isinstance(model, type) and hasattr(model, "__pydantic_validator__")


def _pydantic(model: Any) -> Callable[..., Any]:
    if hasattr(model, "model_validate"):
        return cast("Callable[..., Any]", model.model_validate)
    from pydantic import TypeAdapter  # a dataclass of pydantic's

    return TypeAdapter(model).validate_python


def _plain(item: Any) -> Any:
    """The fields of an item by the names that the model has for them, nested objects taken apart as well."""
    if not is_item(item):
        raise TypeError(f"no item: {type(item).__name__}")
    cls: type[Any] = item.__class__
    if kind_of(cls) not in ("struct", "dataclass", "attrs"):
        return as_dict(item)
    try:
        return msgspec.to_builtins(item, builtin_types=_KEPT)
    except TypeError:  # it holds what msgspec does not know
        return as_dict(item)


def errors_of(error: Exception) -> dict[str, str]:
    """What is wrong, by the paths of the fields."""
    details: Any = getattr(error, "errors", None)
    if callable(details) and hasattr(error, "error_count"):  # pydantic's
        found: Any = details(include_url=False, include_context=False, include_input=False)
        return {_path(each["loc"]): each["msg"] for each in found}
    if isinstance(error, _Wrong):
        return error.by_field
    if not isinstance(error, msgspec.ValidationError):
        return {"": _said(error)}
    match = _PLACE.match(str(error))
    why, path = (match[1], match[2] or "") if match is not None else (str(error), "")
    missing = _MISSING.search(why)
    if missing is not None:
        path = f"{path}.{missing[1] or missing[2]}".removeprefix(".")
    return {path: why}


def _said(error: Exception) -> str:
    if isinstance(error, ValueError) and error.args:
        return str(error.args[0])  # attrs adds the attribute and the value
    return f"{type(error).__name__}: {error}"


def _path(places: tuple[str | int, ...]) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in places).removeprefix(".")


def rejected(item: Any, error: Exception, model: str, url: str) -> Rejected:
    """The dead letter for an item."""
    errors = errors_of(error)
    reason = "; ".join(f"{path}: {why}" if path else why for path, why in errors.items())
    return Rejected(item, " ".join(reason.split()), errors, model, url)
