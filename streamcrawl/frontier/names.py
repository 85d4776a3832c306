"""Functions and classes by name: how a job finds again what a request refers to."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from streamcrawl.transport.body import one_line

PLAIN = "keep plain data: None, numbers, text, bytes, dates, enums, and lists, tuples, sets and dicts of these"


class Refusal(Exception):
    """A value that cannot be stored: what it is, and where it stands in its field."""

    def __init__(self, what: str, advice: str = PLAIN) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.path = ""


class Gone(Exception):
    """What a stored request names is not there any more."""


def same(one: object, other: object) -> bool:
    # A bound method is made anew each time that it is looked up.
    return one is other or (type(one) is MethodType and type(other) is MethodType and one == other)


def _walk(root: object, qualname: str) -> Any:
    for name in qualname.split("."):
        root = getattr(root, name)
    return root


def path_of(thing: Any) -> str | None:
    """Its "module:qualname", if that leads to this very object."""
    module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module not in sys.modules:
        return None
    try:
        found = _walk(sys.modules[module], qualname)
    except AttributeError:
        return None
    return f"{module}:{qualname}" if same(found, thing) else None


def at_path(path: str) -> Any:
    """What "module:qualname" leads to. Raises: Gone."""
    module, _, qualname = path.partition(":")
    root = sys.modules.get(module)
    if root is None:
        try:
            root = import_module(module)
        except Exception as error:  # whatever the user's module raises
            why = one_line(f"{type(error).__name__}: {error}")
            raise Gone(f"this job holds requests for {path}, and {module} cannot be imported ({why})") from error
    try:
        return _walk(root, qualname)
    except AttributeError as error:
        raise Gone(f"this job holds requests for {path}, which the flow no longer has") from error


def attribute_of(owner: object, function: Any) -> str | None:
    """The attribute of `owner` that gives this function."""
    plain = getattr(function, "__func__", function)
    names = [str(getattr(function, "__name__", ""))]
    names += [name for kind in type(owner).__mro__ for name, value in vars(kind).items() if value is plain]
    return next((name for name in names if same(getattr(owner, name, None), function)), None)


def described(function: Any) -> str:
    """What error messages call a function that has no name to be found by."""
    code = getattr(function, "__code__", None)
    if type(function) is MethodType:
        return f"the method {function.__qualname__} of another object"
    if not isinstance(function, FunctionType) or code is None:
        return f"a functools.{partial.__name__}" if isinstance(function, partial) else an(function)
    place = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
    if function.__name__ == "<lambda>":
        return f"the lambda at {place}"
    if "<locals>" in function.__qualname__:
        return f"the local function {function.__name__} at {place}"
    return f"a function at {place} that is not what {function.__module__}:{function.__qualname__} leads to"


def an(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
