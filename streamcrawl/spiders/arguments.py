"""Arguments of a spider that nothing in its classes uses: they became attributes that nobody reads."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, ModuleType
from typing import Any, cast

from streamcrawl.mistakes import nearest
from streamcrawl.spiders.spider import Spider

READ = frozenset({"handle_httpstatus_all"})
"""Attributes that the library reads, and that no class of it has."""


def unused(spider: type[Spider], arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The arguments whose names stand nowhere in the classes of a spider and their files, with the one that was meant.

    A spider takes any argument and makes an attribute of it, so one that is misspelt is no error; but where the name
    is neither an attribute, nor an argument of `__init__`, nor in any function of these files, nobody can ask for it.
    """
    attributes = set(_attributes(spider)) | READ
    unknown = [name for name in arguments if name not in attributes]
    if not unknown:
        return
    own = {kind.__module__ for kind in spider.__mro__ if issubclass(kind, Spider) and not _is_ours(kind.__module__)}
    named = {name for module in own for name in _names_in(sys.modules.get(module))}
    meant = attributes | set(_asked_of_self(spider))
    for name in unknown:
        if name not in named and not hasattr(spider, name):
            yield name, nearest(name, sorted(meant))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "streamcrawl"


def _attributes(spider: type[Spider]) -> Iterator[str]:
    """What the classes give a value, or a type; and the arguments of their `__init__`."""
    for kind in spider.__mro__[:-1]:
        for name, value in vars(kind).items():
            if not (name.startswith("_") or callable(value) or isinstance(value, (classmethod, property))):
                yield name
        yield from vars(kind).get("__annotations__", ())
        made: Any = vars(kind).get("__init__")
        if made is not None:
            taken = inspect.signature(made).parameters.values()
            yield from (each.name for each in taken if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))


def _names_in(module: ModuleType | None) -> Iterator[str]:
    """What the functions and classes of a module name, by themselves or as text."""
    for value in [] if module is None else list(vars(module).values()):
        if getattr(value, "__module__", None) == getattr(module, "__name__", ""):
            for code in _codes(value):
                yield from code.co_names
                yield from _texts(code.co_consts)


def _asked_of_self(spider: type[Spider]) -> Iterator[str]:
    """What the functions of its own classes name, or have as text, that may be the name of an argument."""
    for kind in spider.__mro__:
        if issubclass(kind, Spider) and not _is_ours(kind.__module__):
            for code in _codes(kind):
                names = {*code.co_names, *_texts(code.co_consts)}
                yield from (name for name in names if name.isidentifier() and not hasattr(spider, name))


def _codes(value: Any) -> Iterator[CodeType]:
    """The code of a function, and of all within it; of a class, that of all its functions."""
    if isinstance(value, type):
        for each in vars(value).values():
            yield from _codes(each)
        return
    behind = getattr(value, "fget", None) or getattr(value, "__func__", None) or inspect.unwrap(value)
    waiting = [getattr(behind, "__code__", None)]
    while waiting:
        code = waiting.pop()
        if isinstance(code, CodeType):
            yield code
            waiting += [each for each in code.co_consts if isinstance(each, CodeType)]


def _texts(constants: Iterable[Any]) -> Iterator[str]:
    for each in constants:
        if isinstance(each, str):
            yield each
        elif isinstance(each, (tuple, frozenset)):
            yield from _texts(cast("Iterable[Any]", each))
