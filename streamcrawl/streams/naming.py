"""What to call an operator when something is told about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def name_of(operator: Any) -> str:
    """Such as "map(<lambda> at flow.py:14)": the operator, and the user's function in it.

    reactivex hands out closures; the operator and its arguments are found in their cells.
    """
    name = getattr(operator, "name", None)
    if isinstance(name, str):
        return name
    for cell in _cells(operator):
        if callable(cell) and str(getattr(cell, "__module__", "")).startswith("reactivex."):
            base = str(getattr(cell, "__name__", "operator")).rstrip("_")
            users = [user for user in map(_place, _arguments(operator)) if user]
            return f"{base}({', '.join(users)})" if users else base
    tuples: list[tuple[Any, ...]] = [cell for cell in _cells(operator) if isinstance(cell, tuple)]
    parts = [part for cell in tuples for part in cell if callable(part)]
    if parts and "_compose" in getattr(operator, "__name__", ""):
        return "+".join(map(name_of, parts))
    own = getattr(operator, "__name__", None) or type(operator).__name__.lower()
    return _place(operator) or str(own)


def _cells(operator: Any) -> Iterator[Any]:
    for cell in getattr(operator, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell
            continue


def _arguments(operator: Any) -> Iterator[Any]:
    for value in _cells(operator):
        if isinstance(value, tuple):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()


def _place(function: Any) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    return f"{function.__name__} at {Path(code.co_filename).name}:{code.co_firstlineno}"
