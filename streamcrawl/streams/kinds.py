"""What a user's function gave, told apart in a way that type checkers follow."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any, TypeGuard


def is_awaitable(value: object) -> TypeGuard[Awaitable[Any]]:
    return isinstance(value, Awaitable)


def is_async_iterable(value: object) -> TypeGuard[AsyncIterable[Any]]:
    return isinstance(value, AsyncIterable)


def is_several(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether it is iterable, and not text or bytes."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))
