"""The jars of one run, by name: each apart from the others, bounded together, kept by a job or in a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, MutableMapping
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from streamcrawl.cookies.cookie import Cookie, Refused
from streamcrawl.cookies.files import CookieFileError, read_jars, write_jars
from streamcrawl.cookies.jar import CookieJar
from streamcrawl.cookies.own import OwnCookies, own_cookies

Name: TypeAlias = str | None
"""`Request.cookiejar`; None: the one jar."""
State: TypeAlias = MutableMapping[str, Any]

GIVEN = "(given)"
"""Under which a job keeps what the jar had at first; no domain has parentheses."""

_row = attrgetter(*Cookie.__slots__)
_given = attrgetter("name", "domain", "path", "host_only", "value")
_place = attrgetter("name", "domain", "path", "host_only")

OWN = 10_000
"""Cookies of the user's own of which is remembered what he gave."""


class Jars:
    """The jars of one run, by name. Jars are made when they are first needed.

    Args:
        make: Makes a jar; called once for each.
        limit: Jars that have a name; the one that was used longest ago goes first. 1 or more.
        total: Cookies in all jars; beyond it jars that have a name go, in the same order. 1 or more.
        state: What a job has kept, and keeps from now on.
        file: Read now if it is there, and written by `write`.
        now: Seconds since the epoch.

    `unwritten` says whether `write` has anything to do; `parted` counts the jars that had to go.

    Raises: CookieFileError if the file cannot be read.
    """

    __slots__ = (
        *("_brought", "_dirty", "_file", "_jars", "_kept", "_limit", "_make", "_own", "_state", "_total"),
        *("parted", "size", "unwritten"),
    )

    def __init__(
        self,
        make: Callable[[], CookieJar],
        *,
        limit: int,
        total: int,
        now: float,
        state: State | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._make = make
        self._limit = limit
        self._total = total
        self._state = state
        self._file = file
        self._jars: dict[Name, CookieJar] = {}
        self._dirty: set[tuple[Name, str]] = set()
        self._brought = {} if file is None else _brought(file)
        self._own: dict[tuple[Any, ...], str] = {}
        """The value that the user gave a cookie last, by its jar and its place there."""
        self.size = 0
        self.parted = 0
        self.unwritten = False
        self._begin(now)

    def _begin(self, now: float) -> None:
        """Make the jars that there is something for; the one that was used last comes last."""
        self._kept: dict[Name, dict[str, list[Any]]] = {}
        used: dict[Name, float] = dict.fromkeys(self._brought, 0.0)
        state: State = {} if self._state is None else self._state
        for key in [*state]:
            name, domain = _name_and_domain(key)
            if domain != GIVEN:
                rows = self._kept.setdefault(name, {})[domain] = state[key]
                used[name] = max(used.get(name, 0.0), _last(rows))
        used[None] = float("inf")
        for name in sorted(used, key=lambda name: used[name]):
            self._open(name, now)
        self._settle(now)

    def find(self, name: Name) -> CookieJar | None:
        """The jar of this name; None if there is none yet."""
        jar = self._jars.get(name)
        if jar is not None and name is not None:
            self._jars[name] = self._jars.pop(name)  # the order of the jars is that of their last use
        return jar

    def _named(self, name: Name, now: float) -> CookieJar:
        jar = self.find(name)
        return self._open(name, now) if jar is None else jar

    def store(self, name: Name, url: str, lines: Iterable[str], now: float) -> list[Cookie | Refused]:
        """Take what a response sets, into the jar of this name."""
        jar = self._named(name, now)
        before = len(jar)
        results = jar.store(url, lines, now)
        self.size += len(jar) - before
        self._settle(now)
        return results

    def set(self, name: Name, url: str, cookies: OwnCookies, now: float, *, again: bool = False) -> None:
        """Keep cookies of the user's own in the jar of this name.

        Args:
            again: The request is a repeat: what came with it before, with the same value, is as servers have left it.
        """
        jar = self._named(name, now)
        before = len(jar)
        own = self._own
        for each in own_cookies(url, cookies, now):
            place = (name, *_place(each))
            if again and own.get(place) == each.value:
                continue
            own.pop(place, None)
            own[place] = each.value
            if len(own) > OWN:
                del own[next(iter(own))]
            jar.add(each, now)
        self.size += len(jar) - before
        self._settle(now)

    def write(self, now: float) -> list[str]:
        """Write the file; gives the names of the cookies that it cannot hold. Raises: CookieFileError."""
        left = [] if self._file is None else write_jars(self._file, self._jars, now=now)
        self.unwritten = False
        return left

    # ---- making jars, and parting with them

    def _open(self, name: Name, now: float) -> CookieJar:
        jar = self._make()
        for each in self._brought.get(name, ()):
            jar.add(each, now)
        if self._state is not None:
            self._resume(self._state, name, jar, now)
        if self._state is not None or self._file is not None:
            jar.changed = lambda domain: self._dirty.add((name, domain))
        self._jars[name] = jar
        self.size += len(jar)
        return jar

    def _settle(self, now: float) -> None:
        """Keep within the bounds, and tell the job what has changed."""
        # The last jar is the one in use, and the one without a name is always there: both have bounds of their own.
        while len(self._jars) - 1 > self._limit or (self.size > self._total and len(self._jars) > 2):
            self._part(next(name for name in self._jars if name is not None))
        if self._dirty:
            self.unwritten = True
            if self._state is not None:
                for name, domain in self._dirty:
                    jar = self._jars.get(name)
                    rows = [] if jar is None else _rows(jar, domain, now)
                    if rows:
                        self._state[_key(name, domain)] = rows
                    else:
                        self._state.pop(_key(name, domain), None)
            self._dirty.clear()

    def _part(self, name: Name) -> None:
        jar = self._jars.pop(name)
        self.size -= len(jar)
        self.parted += 1
        self._brought.pop(name, None)
        jar.clear()
        if self._state is not None:
            self._state.pop(_key(name, GIVEN), None)

    # ---- jobs

    def _resume(self, state: State, name: Name, jar: CookieJar, now: float) -> None:
        """Put into the jar what the job has of it, before what it was given."""
        given = [*jar]
        before = {tuple(each) for each in state.get(_key(name, GIVEN), ())}
        stored = self._kept.pop(name, {})
        dirty: set[str] = set()
        jar.clear()
        jar.changed = dirty.add
        # What was used last comes last: among those that were used at the same time a full jar keeps it.
        for rows in sorted(stored.values(), key=_last):
            for row in rows:
                jar.add(Cookie(*row), now)
        dirty.clear()
        dirty.update(domain for domain, rows in stored.items() if rows != _rows(jar, domain, now))
        for each in given:
            if _given(each) not in before:
                jar.add(each, now)
        brought = {_given(each) for each in given if _storable(each)}
        if brought != before:
            state[_key(name, GIVEN)] = [list(each) for each in brought]
        self._dirty.update((name, domain) for domain in dirty)

    def __len__(self) -> int:
        return len(self._jars)

    def __repr__(self) -> str:
        return f"<Jars {len(self._jars)} with {self.size} cookies>"


def _brought(file: str | os.PathLike[str]) -> dict[Name, list[Cookie]]:
    path = Path(file)
    if path.exists():
        return read_jars(path)
    if not path.parent.is_dir():
        raise CookieFileError(f"{path}: there is no such directory")
    return {}


def _key(name: Name, domain: str) -> str:
    return domain if name is None else f"{domain} {name}"


def _name_and_domain(key: str) -> tuple[Name, str]:
    domain, blank, name = key.partition(" ")
    return (name if blank else None), domain


def _last(rows: list[list[Any]]) -> float:
    """When the cookies of a domain were used last."""
    return max(float(row[-1]) for row in rows)


def _rows(jar: CookieJar, domain: str, now: float) -> list[list[Any]]:
    """The cookies of a registrable domain as plain data."""
    return [list(_row(each)) for each in jar.of(domain) if not each.is_expired(now) and _storable(each)]


def _storable(cookie: Cookie) -> bool:
    """Whether it is text: not so what a `fetch` of the user's made of bytes by escaping them."""
    text = f"{cookie.name}{cookie.value}{cookie.path}{cookie.domain}"
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
