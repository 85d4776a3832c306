"""Arguments of a spider that nothing in its classes uses: they became attributes that nobody reads."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast

from streamcrawl.mistakes import nearest, own_function
from streamcrawl.spiders.spider import Spider

READ = frozenset({"handle_httpstatus_all"})
"""Attributes that the library reads, and that no class of it has."""

BEHIND = ("fget", "__func__", "func", "__wrapped__")
"""What properties, methods, partials and decorated functions name the function with that they call."""

ALL = frozenset({"__dict__", "vars"})
"""Names by which code asks for all attributes at once."""


def unused(spider: type[Spider], arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The arguments whose names stand nowhere in the classes of a spider and their files, with the one that was meant.

    A spider takes any argument and makes an attribute of it, so one that is misspelt is no error; but where the name
    is neither an attribute, nor an argument of `__init__`, nor in any function of these files, nobody can ask for it.
    Where the classes look at all of them at once, only those are told for which there is one that was meant.
    """
    attributes = set(_attributes(spider)) | READ
    unknown = [name for name in arguments if name not in attributes]
    if not unknown:
        return
    own = [kind for kind in spider.__mro__ if not _is_foreign(kind.__module__)]
    named = {name for module in {kind.__module__ for kind in own} for name in _names_in(sys.modules.get(module))}
    meant = attributes | set(_asked_of_self(spider))
    any_name = any(_takes_all(kind) for kind in own)
    for name in unknown:
        if name not in named and not hasattr(spider, name):
            near = nearest(name, sorted(meant))
            if near or not any_name:
                yield name, near


def _is_foreign(module: str) -> bool:
    """Whether it is the library's, or Python's."""
    top = module.partition(".")[0]
    return top == "streamcrawl" or top in sys.stdlib_module_names


def _takes_all(kind: type[Any]) -> bool:
    """Whether its `__init__` takes any argument, and may do more with them than hand them on, or it looks at all."""
    made: Any = vars(kind).get("__init__")
    parameters = inspect.signature(made).parameters.values() if made is not None else ()
    return any(each.kind is each.VAR_KEYWORD for each in parameters) or any(
        name in ALL for code in _codes(kind) for name in code.co_names
    )


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
    """What the functions and classes of a module name, and functions that it has from elsewhere: itself or as text."""
    for value in [] if module is None else list(vars(module).values()):
        if _asked(value, "__module__") == getattr(module, "__name__", "") or (
            isinstance(value, FunctionType) and own_function(value)
        ):
            for code in _codes(value):
                yield from code.co_names
                yield from _texts(code.co_consts)


def _asked_of_self(spider: type[Spider]) -> Iterator[str]:
    """What the functions of its own classes name, or have as text, that may be the name of an argument."""
    for kind in spider.__mro__:
        if not _is_foreign(kind.__module__):
            for code in _codes(kind):
                names = {*code.co_names, *_texts(code.co_consts)}
                yield from (name for name in names if name.isidentifier() and not hasattr(spider, name))


def _codes(value: Any) -> Iterator[CodeType]:
    """The code of a function, and of all within it; of a class, that of all its functions."""
    if isinstance(value, type):
        for each in vars(value).values():
            if not isinstance(each, type) or each.__qualname__.startswith(f"{value.__qualname__}."):
                yield from _codes(each)
        return
    behind = next((found for name in BEHIND if (found := _asked(value, name)) is not None), value)
    waiting = [_asked(behind, "__code__")]
    while waiting:
        code = waiting.pop()
        if isinstance(code, CodeType):
            yield code
            waiting += [each for each in code.co_consts if isinstance(each, CodeType)]


def _asked(value: Any, name: str) -> Any:
    """An attribute of something of the user's, or None; also of what raises something else if it has none."""
    try:
        found = getattr(value, name, None)
        return inspect.unwrap(found) if isinstance(found, FunctionType) else found
    except Exception:
        return None


def _texts(constants: Iterable[Any]) -> Iterator[str]:
    for each in constants:
        if isinstance(each, str):
            yield each
        elif isinstance(each, (tuple, frozenset)):
            yield from _texts(cast("Iterable[Any]", each))
