"""Rates by pattern: which hosts and slots a rule of `throttle` is meant for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

from streamcrawl.errors import InvalidURL, OperatorError
from streamcrawl.frontier.rates import Rate, Rule
from streamcrawl.mistakes import shortened
from streamcrawl.urls import host_of, hostname_of, normalize

_NO_NAME = frozenset("@?#\\%")
"""What stands in a URL, or in a slot's name, but not in the name of a host."""
_NO_SLOT = re.compile(r"https?:.*|\[.*:.*|[\w.-]+\.[\w-]+:(?P<port>[0-9]+)", re.IGNORECASE)
"""What is no slot's name, but a Host, an address or a name with a port that went wrong."""


class Patterns:
    """Rates by pattern; a Rule. The closest one counts.

    From the closest: a Host ("https://example.org:8443") or a slot by its name, a host name with its port
    ("example.org:8443"), a host name ("example.org"), the subdomains of one ("*.example.org"), every host ("*"). Names
    of hosts are the same in capitals and with a dot at their end (RFC 4343, RFC 1034 §3.1), those of slots are not.
    """

    def __init__(self, rates: Mapping[str, Rate]) -> None:
        self._rates: dict[str, Rate] = {}
        """By Host, or as it is written: a slot may be called so."""
        self._names: dict[str, Rate] = {}
        """By what else the patterns stand for."""
        for pattern, rate in rates.items():
            self.set(pattern, rate)

    def set(self, pattern: str, rate: Rate | None) -> None:
        """Raises: ValueError, TypeError, for a pattern or rate that is none."""
        written, names = read(pattern)
        if rate is None:
            self._rates.pop(written, None)
            for name in names:
                self._names.pop(name, None)
            return
        self._rates[written] = checked_rate(pattern, rate)
        for name in names:
            self._names[name] = rate

    def __len__(self) -> int:
        return len(self._rates)

    def __call__(self, host: str) -> Rate | None:
        rates, names = self._rates, self._names
        found = rates.get(host)
        if found is not None or not rates:
            return found
        name = host
        if "://" in host:
            host = undotted(host)
            name = hostname_of(host)
            found = rates.get(host) or names.get(host) or names.get(name)
        if not name:
            return None
        parent = name
        while found is None and parent:
            parent = parent.partition(".")[2]
            found = names.get("*." + parent)
        return names.get("*") if found is None else found

    def __repr__(self) -> str:
        return f"<Patterns {', '.join(self._rates)}>"


def read(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The Host, or the slot, that the pattern names, and what else it stands for.

    Raises: TypeError, ValueError, if it names nothing.
    """
    if not isinstance(pattern, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
        raise TypeError(f"{shortened(cast('object', pattern), 80)} is no name: text is needed, such as 'shop.example'")
    if "://" in pattern:
        return undotted(checked_host(pattern)), ()
    name = pattern.removeprefix("*.")
    if not name.strip() or "/" in name or ("*" in name and pattern != "*"):
        raise ValueError(
            f"{shortened(pattern, 80)} is no pattern: a Host, a host name, '*.' and a host name, '*', or a slot"
        )
    if pattern == "*":
        return pattern, (pattern,)
    if name == pattern:
        return pattern, _names_of(pattern)
    parent = hostname_of(undotted(host_of(normalize(f"http://{name}/"))))
    if ":" in name or parent.rpartition(".")[2].isdigit():
        raise ValueError(f"{shortened(pattern, 80)} is no pattern: what follows '*.' is a host name, without a port")
    return f"*.{parent}", (f"*.{parent}",)


def _names_of(pattern: str) -> tuple[str, ...]:
    """The host name that the text is, or the Hosts if it has a port; none if it can only be the name of a slot."""
    text = pattern.strip()
    if _NO_NAME.intersection(text) or text.split() != [text]:
        return ()
    place = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
    try:
        hosts = tuple(undotted(host_of(normalize(f"{scheme}://{place}/"))) for scheme in ("http", "https"))
    except InvalidURL:
        wrong = _NO_SLOT.fullmatch(text)
        if wrong is None or (wrong["port"] and int(wrong["port"]) < 65_536):
            return ()
        raise ValueError(
            f"{shortened(pattern, 80)} is no pattern: neither a host name, nor one with a port, nor a Host"
        ) from None
    return hosts if re.search(r":[0-9]+$", place) else (hostname_of(hosts[0]),)


def checked_host(text: str) -> str:
    """The Host that the text is. Raises: ValueError if it is none."""
    url = normalize(text)
    host = host_of(url)
    if url.removesuffix("/") != host:
        raise ValueError(f"{shortened(text, 80)} is no Host: write {host!r}")
    if "*" in host:
        raise ValueError(f"{shortened(text, 80)} is no Host: write {host.partition('://')[2]!r}")
    return host


def undotted(host: str) -> str:
    """The Host without the dot at the end of its name, which only says that the name is whole."""
    if not host.endswith(".") and ".:" not in host:
        return host
    name = hostname_of(host)
    return host.replace(name, name.removesuffix("."), 1) if name.endswith(".") else host


def checked_rate(pattern: str, rate: object) -> Rate:
    """Raises: TypeError if it is no Rate."""
    if not isinstance(rate, Rate):
        raise TypeError(f"the rate of {shortened(pattern, 80)} is {shortened(rate, 80)}; it must be a Rate")
    return rate


def checked_rule(rule: Rule, by: str, fail: Callable[[Exception], object]) -> Rule:
    """The rule for one run, which stops it where the rule goes wrong: nobody knows how fast to go any more.

    Args:
        rule: A function of the user's.
        by: The layer and its argument, for the error.
        fail: Stops the run. It gets an OperatorError for what the function raises, a TypeError for what is no Rate.
    """

    def asked(host: str) -> Rate | None:
        try:
            rate = cast("object", rule(host))
        except Exception as error:
            wrapped = OperatorError(by, error)
            wrapped.__cause__ = error
            fail(wrapped)
            return None
        if rate is None or isinstance(rate, Rate):
            return rate
        given = shortened(rate, 80)
        fail(TypeError(f"{by}: the function gave {given} for {host!r}; it must give a Rate or None"))
        return None

    return asked
