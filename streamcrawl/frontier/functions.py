"""The callbacks and errbacks of a flow, by the names that a job stores.

"c" and "e" are the callback and the errback of scrape(), "c.name" is a method of the object that scrape()'s callback is
a method of, "module:qualname" is what a module has.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from streamcrawl.frontier.names import Gone, Refusal, an, at_path, attribute_of, described, path_of, same

_NAMED = "give a function at module level, or a method of the object whose method scrape() calls"
_KEPT = 4096  # names and functions remembered
_MARKS = {"c": "callback", "e": "errback"}


class Functions:
    """Names the functions of a flow, and finds them again.

    Args:
        callback: The callback of the flow's scrape(); it may be any function.
        errback: Its errback.
    """

    def __init__(self, callback: Callable[..., Any] | None, errback: Callable[..., Any] | None) -> None:
        given = [(mark, each) for mark, each in (("c", callback), ("e", errback)) if each is not None]
        self._given = given
        self._owners = {mark: getattr(each, "__self__", each) for mark, each in given if type(each) is not FunctionType}
        self._names: dict[Any, str] = {}
        self._functions: dict[str, Any] = dict(given)

    def name_of(self, function: Any) -> str:
        """What a callback or errback is stored as. Raises: Refusal."""
        try:
            name = self._names.get(function)
        except TypeError:  # a callable object without a hash
            return self._find_name(function)
        if name is None:
            name = self._find_name(function)
            if len(self._names) < _KEPT:
                self._names[function] = name
        return name

    def function_of(self, name: str) -> Any:
        """What `name_of` gave the name for. Raises: Gone."""
        function = self._functions.get(name)
        if function is None:
            function = self._find_function(name)
            if not callable(function):
                raise Gone(f"this job holds requests for {name}, which is no function any more")
            if len(self._functions) < _KEPT:
                self._functions[name] = function
        return function

    def _find_name(self, function: Any) -> str:
        for mark, each in self._given:
            if same(function, each):
                return mark
        owned = (
            f"{mark}.{attribute}"
            for mark, owner in self._owners.items()
            if (attribute := attribute_of(owner, function)) is not None
        )
        name = next(owned, None) if type(function) is MethodType else None
        name = name or path_of(function) or next(owned, None)
        if name is None:
            raise Refusal(f"is {described(function)}", _NAMED)
        return name

    def _find_function(self, name: str) -> Any:
        if ":" in name:
            return at_path(name)
        mark, dot, attribute = name.partition(".")
        if mark not in _MARKS:
            raise ValueError(f"{name!r} names no function")
        if not dot:
            raise Gone(f"this job holds requests for the {_MARKS[mark]} of scrape(), which the flow no longer has")
        owner = self._owners.get(mark)
        found = getattr(owner, attribute, None)
        if found is None:
            whose = "the object whose method scrape() calls" if owner is None else an(owner)
            raise Gone(f"this job holds requests for {attribute}() of {whose}, which the flow no longer has")
        return found
