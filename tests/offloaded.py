"""Functions that tests send to other processes: they must be importable there."""

from __future__ import annotations

import os
from typing import Any


def squared(item: dict[str, Any]) -> dict[str, Any]:
    """The item with its square, and the process that worked it out."""
    return {**item, "square": item["n"] ** 2, "process": os.getpid()}


def picky(item: dict[str, Any]) -> dict[str, Any]:
    """Raises for the item whose n is 2."""
    if item["n"] == 2:
        raise ValueError("n is 2")
    return item
