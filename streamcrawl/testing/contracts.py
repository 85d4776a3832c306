"""Contracts: in the docstring of a callback, a page to try it on, and what has to come of it.

def parse(page):
    '''The quotes of a page.

    @url https://quotes.toscrape.com/
    @returns items 10 10
    @returns requests 0 1
    @scrapes text author
    '''
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple, cast

from streamcrawl.core import Request
from streamcrawl.items import as_dict, is_item
from streamcrawl.response import Response

_TAG = re.compile(r"^\s*@(\w+)(?:[ \t]+(.*?))?[ \t]*$", re.MULTILINE)


class ContractFailed(AssertionError):
    """What a callback gave is not what its contract says."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A kind of line that docstrings may have, `@name argument`, and what it means.

    Put one at the top level of a file, and `streamcrawl check` knows it there. Its functions take the argument, the
    text behind the name, and say that something is wrong by raising AssertionError (a plain `assert`), ContractFailed
    or ValueError. `before` and `after` may be coroutines.

    Args:
        name: A word.
        adjust: (request, argument) -> the Request that is to be sent instead.
        before: (response, argument), before the callback is called.
        after: (list of what the callback gave, argument), after it has ended.

    Raises: ValueError for a name that is no word, or if it means nothing at all.
    """

    name: str
    adjust: Callable[[Request, str], Any] | None = None
    before: Callable[[Response, str], Any] | None = None
    after: Callable[[list[Any], str], Any] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.name):
            raise ValueError(f"a contract is called {self.name!r}: one word, without the @")
        if self.adjust is None and self.before is None and self.after is None:
            raise ValueError(f"the contract {self.name!r} means nothing: give adjust, before or after")


class Line(NamedTuple):
    """One contract of a callback; without a `contract` it is one that nobody knows, and `argument` says so."""

    text: str
    contract: Contract | None
    argument: str


class Example(NamedTuple):
    """A page that a callback is tried on, and the contracts that hold for it."""

    callback: str
    url: str
    lines: tuple[Line, ...]


def examples(name: str, docstring: str | None, contracts: Mapping[str, Contract]) -> list[Example]:
    """The examples in a docstring; none without an `@url`.

    With several `@url`, each has the lines that follow it, and those that stand before the first.

    Args:
        name: What the callback is called.
        docstring: Its docstring.
        contracts: Those there are, by name.
    """
    lines = [_line(found[1], found[2] or "", contracts) for found in _TAG.finditer(docstring or "")]
    known = [line for line in lines if line is not None]
    starts = [n for n, line in enumerate(known) if line.contract is URL]
    if not starts:
        return []
    common = known[: starts[0]]
    return [
        Example(name, known[at].argument, (known[at], *common, *known[at + 1 : until]))
        for at, until in zip(starts, [*starts[1:], len(known)], strict=True)
    ]


def _line(name: str, argument: str, contracts: Mapping[str, Contract]) -> Line | None:
    text = f"@{name} {argument}".rstrip()
    if name in contracts:
        return Line(text, contracts[name], argument)
    near = get_close_matches(name, contracts, 1, 0.75)
    return Line(text, None, f"there is no contract @{name}; did you mean @{near[0]}?") if near else None


def by_name(contracts: Iterable[Contract] = ()) -> dict[str, Contract]:
    """The project's own contracts and these, which win, by name. Raises: TypeError for what is no Contract."""
    made = {each.name: each for each in CONTRACTS}
    for each in contracts:
        if not isinstance(each, Contract):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise TypeError(f"{each!r} is no Contract")
        made[each.name] = each
    return made


# -- those that there are ---------------------------------------------------------------------------------------------


def _url(request: Request, argument: str) -> Request:
    if not argument or " " in argument:
        raise ValueError("it takes one URL")
    return request.replace(url=argument)


def _object(argument: str) -> dict[str, Any]:
    try:
        value = json.loads(argument)
    except ValueError as error:
        raise ValueError(f'it takes a JSON object, such as {{"page": 2}}: {error}') from None
    if not isinstance(value, dict):
        raise ValueError('it takes a JSON object, such as {"page": 2}')
    return cast("dict[str, Any]", value)


def _cb_kwargs(request: Request, argument: str) -> Request:
    return request.replace(cb_kwargs={**request.cb_kwargs, **_object(argument)})


def _meta(request: Request, argument: str) -> Request:
    return request.replace(meta={**request.meta, **_object(argument)})


def _method(request: Request, argument: str) -> Request:
    if not re.fullmatch(r"[A-Za-z]+", argument):
        raise ValueError("it takes an HTTP method, such as POST")
    return request.replace(method=argument.upper())


def _body(request: Request, argument: str) -> Request:
    return request.replace(body=argument.encode())


def _named(argument: str) -> tuple[str, str]:
    """The name and the value of "name value"; "name: value" and "name=value" are understood as well."""
    found = re.match(r"([^\s:=]+)(?:\s*[:=]\s*|\s+)(.*)", argument)
    if found is None:
        raise ValueError("it takes a name and a value")
    return found[1], found[2]


def _header(request: Request, argument: str) -> Request:
    return request.replace(headers=request.headers.set(*_named(argument)))


def _cookie(request: Request, argument: str) -> Request:
    name, value = _named(argument)
    return request.replace(cookies={**cast("Mapping[str, str]", request.cookies), name: value})


_KINDS: dict[str, Callable[[Any], bool]] = {
    "item": is_item,
    "items": is_item,
    "request": lambda output: isinstance(output, Request),
    "requests": lambda output: isinstance(output, Request),
}


def _returns(outputs: Sequence[Any], argument: str) -> None:
    kind, *bounds = argument.split() or [""]
    if kind not in _KINDS or len(bounds) > 2 or not all(bound.isascii() and bound.isdigit() for bound in bounds):
        raise ValueError("it takes items or requests, then how many at least and at most: @returns items 1 16")
    least = int(bounds[0]) if bounds else 1
    most = int(bounds[1]) if len(bounds) == 2 else None
    if most is not None and most < least:
        raise ValueError(f"at least {least} and at most {most}: that cannot be")
    found = sum(1 for output in outputs if _KINDS[kind](output))
    if found < least or (most is not None and found > most):
        wanted = f"{least} or more" if most is None else f"{least}" if most == least else f"{least} to {most}"
        what = kind.removesuffix("s") + ("" if found == 1 else "s")
        raise ContractFailed(f"it gave {found} {what}, and not {wanted}")


def _scrapes(outputs: Sequence[Any], argument: str) -> None:
    names = argument.replace(",", " ").split()
    if not names:
        raise ValueError("it takes names of fields")
    for nth, item in enumerate((output for output in outputs if is_item(output)), 1):
        missing = [name for name in names if name not in as_dict(item)]
        if missing:
            raise ContractFailed(f"item {nth} has no {', '.join(missing)}: {_brief(item)}")


def _brief(item: Any) -> str:
    text = " ".join(repr(item).split())
    return text if len(text) <= 120 else f"{text[:117]}..."


URL = Contract("url", adjust=_url)
CONTRACTS = (
    URL,
    Contract("returns", after=_returns),
    Contract("scrapes", after=_scrapes),
    Contract("cb_kwargs", adjust=_cb_kwargs),
    Contract("meta", adjust=_meta),
    Contract("method", adjust=_method),
    Contract("body", adjust=_body),
    Contract("header", adjust=_header),
    Contract("cookie", adjust=_cookie),
)
"""Those of the project: the page, its request, and what has to come of it."""
