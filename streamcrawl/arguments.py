"""Wrong arguments of a function that builds something: told with the value, and with what is meant.

What is checked follows from the annotations, so a function says it once. Bounds it checks itself.
"""

from __future__ import annotations

import collections.abc
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import WRAPPER_ASSIGNMENTS, wraps
from math import isnan
from operator import index
from typing import (
    Any,
    Literal,
    NamedTuple,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from streamcrawl.mistakes import nearest, shortened

M = TypeVar("M", bound=Callable[..., Any])

SECRET = frozenset({"accounts", "headers", "password", "storage"})
"""Arguments whose values are not shown."""
SEVERAL = (tuple, list, set, frozenset)
"""What is looked into; anything else may be given once only, as it comes."""

_PLAIN = {bool: "True or False", int: "a whole number", float: "a number", str: "text", types.NoneType: "None"}
_OF_CLASSES = (classmethod, staticmethod)
_LASTING = (tuple, collections.abc.Collection)
"""Of these no generator is one: they are looked at more than once."""
_NAMELESS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


Test: TypeAlias = Callable[[Any], bool]


class Kind(NamedTuple):
    """What an argument may be: the test, its words, and the types of which some values are right."""

    fits: Test
    words: str
    some: tuple[type, ...] = ()


def check_arguments(package: str, names: Iterable[str]) -> None:
    """Let these functions of a package tell what is wrong with their arguments: each is in a module of its name.

    The function takes its own place there, so that pickles find it; it is asked when something is built, and what it
    builds is not wrapped.
    """
    for name in names:
        make = getattr(sys.modules[package], name)
        if not hasattr(make, "__wrapped__"):  # once, if the package is loaded by another name too
            told = telling(make)
            for module in (make.__module__, package):
                setattr(sys.modules[module], name, told)


def telling(make: M) -> M:
    """The function, or the class, which tells of wrong arguments itself. Raises: TypeError, ValueError, when called."""
    if not isinstance(make, type):
        return cast("M", _telling(make, make.__doc__))
    make.__init__ = _telling(make.__init__, make.__doc__, 1)  # type: ignore[misc] # the class stays what it is
    return cast("M", make)


def _telling(make: Callable[..., Any], doc: str | None, own: int = 0) -> Callable[..., Any]:
    """`own`: arguments that are not the user's, such as self."""
    signature: inspect.Signature | None = None
    quickly: Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any] | None] = _never
    kinds: dict[str, Kind | None] = {}

    def kind_by(name: str, parameter: inspect.Parameter) -> Kind | None:
        if name not in kinds:  # asked once, and only of what is given: most is left as it is
            kinds[name] = _kind_of(make, parameter)
        return kinds[name]

    @wraps(make, (*WRAPPER_ASSIGNMENTS, "__kwdefaults__"))
    def made(*args: Any, **kwargs: Any) -> Any:
        nonlocal quickly, signature
        if len(args) == own and not kwargs:
            return make(*args)
        if signature is None:
            signature = inspect.signature(make)
            quickly = _quick(signature)
        parameters = signature.parameters
        try:
            given = quickly(args, kwargs) or signature.bind(*args, **kwargs).arguments
        except TypeError:
            unknown = unknown_in(make, kwargs)
            if unknown:
                what = f"{_name(make)}() got an unexpected keyword argument {unknown!r}"
                raise TypeError(f"{what}; {meant(make, unknown)}") from None
            return make(*args, **kwargs)  # Python says best what is missing, or too much
        wrong = [
            (name, value, kind)
            for name, value in (given.items() if quickly is not _never else _flat(given, signature))
            if (kind := kind_by(name, parameters[name])) is not None and not kind.fits(value)
        ]
        if not wrong:
            return make(*args, **kwargs)
        try:
            make(*args, **kwargs)
        except Exception as error:  # whatever comes of it, if nobody looks
            if _has_words(error):
                raise
        name, value, kind = wrong[0]
        raise (ValueError if isinstance(value, kind.some) else TypeError)(_said(make, doc, name, value, kind))

    return made


def _never(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    return None


def _quick(signature: inspect.Signature) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any] | None]:
    """What `Signature.bind` finds, at a tenth of its cost; None for a call that it has to say something of."""
    parameters = signature.parameters
    names, needed = [*parameters], [name for name, each in parameters.items() if each.default is each.empty]
    usual = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(each.kind not in usual for each in parameters.values()):
        return _never
    places = [name for name in names if parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]

    def quickly(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        given = dict(zip(places, args, strict=False))
        given.update(kwargs)
        fits = len(given) == len(args) + len(kwargs) and given.keys() <= parameters.keys()
        return given if fits and all(map(given.__contains__, needed)) else None

    return quickly


def _name(make: Callable[..., Any]) -> str:
    """Its name; the class's where it makes an object."""
    name, of = make.__name__, make.__qualname__.split(".")
    return of[-2] if name == "__init__" and len(of) > 1 else name


def _has_words(error: Exception) -> bool:
    """Whether code of this package has raised it: then it says what is wrong, and better.

    Not what a function within tells like this one: its argument is not the one that was given.
    """
    from opcode import opmap

    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else trace.tb_frame.f_globals.get("__name__", "")
    if trace is None or not where.startswith("streamcrawl.") or where == __name__:
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]


def unknown_in(function: Callable[..., Any], given: Iterable[str]) -> str:
    """The first of these names that the function takes no argument by; "" if there is none."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return ""
    names = {each.name for each in parameters if each.kind not in _NAMELESS}
    return next((name for name in given if name not in names), "")


def meant(function: Callable[..., Any], unknown: str) -> str:
    """What is said of a name that a function takes no argument by: the one that was meant, or all there are."""
    signature = inspect.signature(function)
    names = [name for name, each in signature.parameters.items() if each.kind not in _NAMELESS and name != "self"]
    if near := nearest(unknown, names):
        return f"did you mean {near!r}?"
    for name, parameter in signature.parameters.items():
        values = [value for value in _literals(_hint(function, parameter)) if isinstance(value, str)]
        if value := nearest(unknown, values, 0.8):
            return f"did you mean {name}={value!r}?"
    return f"it takes {', '.join(names)}" if names else "it takes no arguments"


def _said(make: Callable[..., Any], doc: str | None, name: str, value: Any, kind: Kind) -> str:
    shown = f"<{type(value).__name__}>" if name in SECRET else shortened(value, 80)
    such = f", such as [{shown}]" if isinstance(value, str) and "list of text" in kind.words else ""
    if isinstance(value, type) and value.__module__ != "builtins":
        such = f", and no class: write {value.__name__}(…)"
    meaning = re.search(rf"^ +{name}: (.+?)(?=\.(?:\s|$)|\n +\w+: )", doc or "", re.MULTILINE | re.DOTALL)
    about = f" ({' '.join(meaning[1].split())})" if meaning else ""
    return f"{_name(make)}({name}={shown}): {kind.words} is needed{such}{about}"


def _kind_of(make: Callable[..., Any], parameter: inspect.Parameter) -> Kind | None:
    """What the argument may be; None if nothing is known of it."""
    if parameter.kind is inspect.Parameter.VAR_KEYWORD or parameter.annotation is inspect.Parameter.empty:
        return None
    return kind_of(_hint(make, parameter))


def _flat(given: Mapping[str, Any], signature: inspect.Signature) -> Iterator[tuple[str, Any]]:
    """Each argument, also each of those that a name stands for several of."""
    for name, value in given.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            yield from ((name, each) for each in value)
        else:
            yield name, value


def _hint(make: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    there = {
        **vars(collections.abc),
        "re": re,
        **getattr(make, "__globals__", {}),
    }  # with what aliases made of text are written in
    return _evaluated(parameter.annotation, there)


def _evaluated(annotation: Any, there: dict[str, Any]) -> Any:
    """What an annotation means; names that are imported for type checkers only are Any."""
    known: dict[str, Any] = {}
    if isinstance(annotation, str):
        for name in re.findall(r"\w+", annotation):
            if isinstance(text := there.get(name), str) and text != name:  # an alias made of text
                known[name] = _evaluated(text, there)
    alone = types.SimpleNamespace(__annotations__={"it": annotation})
    while True:
        try:
            return get_type_hints(alone, there, known)["it"]
        except NameError as error:
            if not error.name or error.name in known:
                return Any
            known[error.name] = Any
        except (AttributeError, SyntaxError, TypeError):
            return Any


def _literals(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return sum((_literals(each) for each in get_args(hint)), ()) if _is_union(hint) else ()


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def kind_of(hint: Any) -> Kind | None:
    """What fits an annotation; None if that cannot be told, or is everything."""
    origin, of = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return None
    if hint in _PLAIN:
        return Kind(_PLAIN_FITS[hint], _PLAIN[hint], (float,) if hint is float else ())
    if _is_union(hint):
        return _any_of([kind_of(each) for each in of])
    if origin is Literal:
        return Kind(_one_of(of), _or([*map(repr, of)]), (str,))
    if origin is Callable or hint is Callable:
        return Kind(callable, "a function")
    if origin is type:
        return Kind(_is_a(type), "a class")
    if isinstance(origin, type):
        return _several(cast("type[Any]", origin), of)
    return _of_class(cast("type[Any]", hint)) if isinstance(hint, type) else None


def _one_of(values: tuple[Any, ...]) -> Test:
    return lambda value: isinstance(value, str) and value in values


def _is_a(cls: type[Any]) -> Test:
    return lambda value: isinstance(value, cls)


def _any_of(kinds: list[Kind | None]) -> Kind | None:
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds):
        return None
    words = _or(list(dict.fromkeys(kind.words for kind in known)))

    def fits(value: Any) -> bool:
        return any(kind.fits(value) for kind in known)

    return Kind(fits, words, sum((kind.some for kind in known), ()))


def _or(words: list[str]) -> str:
    if len(words) == 1:
        return words[0]
    comma = "," if any(" or " in each for each in words) else ""
    return f"{', '.join(words[:-1])}{comma} or {words[-1]}"


def _several(origin: type[Any], of: tuple[Any, ...]) -> Kind | None:
    """What fits Mapping[…], tuple[…], Collection[…] and their like."""
    kinds = [kind_of(each) for each in of if each is not Ellipsis]
    if issubclass(origin, os.PathLike):  # pyright: ignore[reportGeneralTypeIssues] - it has no data
        return Kind(_is_a(os.PathLike), "a path")
    if issubclass(origin, Mapping):
        return _mapping(kinds)
    if not issubclass(origin, Iterable):
        return _of_class(origin)
    if origin is tuple and Ellipsis not in of:
        return _fixed(kinds)
    wanted, each = origin if origin in _LASTING else Iterable, kinds[0] if kinds else None
    word = "tuple" if origin is tuple else "list"

    def fits(value: Any) -> bool:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, wanted):
            return False
        return each is None or not isinstance(value, SEVERAL) or all(map(each.fits, cast("Iterable[Any]", value)))

    return Kind(fits, f"a {word}" if each is None else f"a {word} of {_plural(each.words)}")


def _fixed(kinds: list[Kind | None]) -> Kind:
    """A tuple of so many."""

    def fits(value: Any) -> bool:
        given = cast("tuple[Any, ...]", value) if isinstance(value, (tuple, list)) else ()
        return len(given) == len(kinds) and all(
            kind is None or kind.fits(each) for kind, each in zip(kinds, given, strict=True)
        )

    return Kind(fits, f"({', '.join('…' if kind is None else kind.words for kind in kinds)})")


def _mapping(kinds: list[Kind | None]) -> Kind:
    key, value = kinds if len(kinds) == 2 else (None, None)
    words = "a dict" if key is None or value is None else f"a dict of {_plural(key.words)} to {_plural(value.words)}"

    def fits(given: Any) -> bool:
        if not isinstance(given, Mapping):
            return False
        items = cast("Iterable[tuple[Any, Any]]", given.items())
        return all((key is None or key.fits(k)) and (value is None or value.fits(v)) for k, v in items)

    return Kind(fits, words)


def _of_class(cls: type[Any]) -> Kind | None:
    if getattr(cls, "_is_protocol", False):
        return _protocol(cls)
    if cls is bytes:
        return Kind(_is_a(bytes), "bytes")
    article = "an" if cls.__name__[0] in "AEIOU" else "a"
    return Kind(_is_a(cls), f"{article} {cls.__name__}")


def _protocol(cls: type[Any]) -> Kind:
    """Whatever has the methods."""
    kinds = [each for each in cls.__mro__ if getattr(each, "_is_protocol", False) and each.__module__ != "typing"]
    names = {name for each in kinds for name in vars(each) if not name.startswith("_") or name == "__call__"}
    if names == {"__call__"}:
        return Kind(callable, "a function")

    def fits(value: Any) -> bool:
        if isinstance(value, type):
            return all(isinstance(inspect.getattr_static(value, name, None), _OF_CLASSES) for name in names)
        return all(hasattr(value, name) for name in names)

    article = "an" if cls.__name__[0] in "AEIOU" else "a"
    return Kind(fits, f"{article} {cls.__name__}")


def _plural(words: str) -> str:
    return {"a whole number": "whole numbers", "a number": "numbers", "a class": "classes"}.get(words, words)


def _is_truth(value: Any) -> bool:
    if isinstance(value, int):
        return value in (0, 1)
    return type(value).__name__ in ("bool", "bool_")  # numpy's, which are no ints


def _is_whole(value: Any) -> bool:
    if isinstance(value, (bool, type)):
        return False
    try:
        index(value)
    except TypeError:  # also of an array, which has the method
        return False
    return True


def _is_number(value: Any) -> bool:
    if isinstance(value, (bool, type)) or not hasattr(value, "__float__"):
        return False
    try:
        return not isnan(value)
    except (TypeError, ValueError):  # of an array, and of a Decimal that is no number
        return False
    except OverflowError:  # bounds are told by whoever has them
        return True


_PLAIN_FITS: dict[type, Test] = {
    bool: _is_truth,
    int: _is_whole,
    float: _is_number,
    str: _is_a(str),
    types.NoneType: lambda value: value is None,
}
