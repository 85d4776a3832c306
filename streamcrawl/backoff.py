"""When to send a request again: the policies of `retry`, as pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from email.utils import parsedate_tz
from math import inf
from random import Random
from typing import TypeAlias

from streamcrawl.arguments import telling
from streamcrawl.core import Failed, Outcome
from streamcrawl.errors import ConnectError, FetchTimeout, OperatorError, ProtocolError, ProxyError, ResolveError
from streamcrawl.response import Response

Wait: TypeAlias = Callable[[int, Random], float]
"""(number of the repeat, from 1; the run's chance) -> seconds before it."""

Test: TypeAlias = Callable[[Outcome], bool]
"""Whether an outcome is worth a repeat."""

TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 522, 524})
HOST_ERRORS: tuple[type[Exception], ...] = (ResolveError, ConnectError, FetchTimeout, ProtocolError)
TRANSIENT_ERRORS = (*HOST_ERRORS, ProxyError)

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
UNDONE_STATUSES = frozenset({408, 429, 503, 522})
"""The server says that it has not done what it was asked: safe to repeat, whatever the method."""
UNDONE_ERRORS: tuple[type[Exception], ...] = (ResolveError, ConnectError, ProxyError)
"""The request never reached the server, or, a ban, was not served."""

AILING_STATUSES = frozenset({429, 502, 503, 504, 522, 524})
"""It is the host that cannot, or will not for now. Not 500: that may well be this one page."""

NOT_CACHED = "not in the cache"
"""The flag of the 504 of a cache that must ask nobody, and why it drops other requests."""


@telling
def backoff(first: float, *, factor: float = 2.0, ceiling: float, jitter: float = 0.5) -> Wait:
    """Waits that grow: `first` seconds, then `factor` times as long each time, up to `ceiling`.

    Args:
        first: Seconds before the first repeat.
        factor: Growth from one repeat to the next; 1 or more.
        ceiling: Seconds that are waited at most.
        jitter: The share of a wait that chance may take off, 0 to 1, so that repeats do not come all at once.

    Raises: ValueError for an argument out of its bounds.
    """
    if not 0 <= first <= ceiling:
        raise ValueError(f"backoff({first!r}, ceiling={ceiling!r}): 0 <= first <= ceiling")
    if factor < 1:
        raise ValueError(f"backoff(factor={factor!r}): 1 or more")
    if not 0 <= jitter <= 1:
        raise ValueError(f"backoff(jitter={jitter!r}): 0 to 1")

    def wait(repeat: int, random: Random) -> float:
        try:
            seconds = min(ceiling, first * factor ** (repeat - 1))
        except OverflowError:
            seconds = ceiling
        return seconds * (1 - jitter * random.random())

    return wait


def waited(wait: Wait, repeat: int, random: Random) -> float:
    """Seconds before repeat n. Raises: ValueError if a function of the user's gives none, or more than ever pass."""
    seconds = wait(repeat, random)
    if not 0 <= seconds < inf:
        raise ValueError(f"a wait before repeat {repeat} of {seconds!r}: seconds, 0 or more, and finite")
    return seconds


@telling
def worth_a_repeat(
    statuses: Collection[int] = TRANSIENT_STATUSES,
    errors: tuple[type[Exception], ...] = TRANSIENT_ERRORS,
    *,
    unsafe: bool = False,
) -> Test:
    """A test for outcomes of these kinds.

    A method that is not idempotent (POST, PATCH) is repeated only where the server cannot have acted on it.

    Args:
        statuses: 100 to 599.
        errors: Classes; what a `fetch` or a layer of yours raised counts as well as what it was made of.
        unsafe: Methods that are not idempotent are repeated too.

    Raises: ValueError for a status that there is none of; TypeError for an error that is no class of exceptions.
    Source: RFC 9110 §9.2.2 (idempotent methods, automatic retries).
    """
    for status in statuses:
        if not 100 <= status <= 599:
            raise ValueError(f"status {status!r}: 100 to 599")
    for each in errors:
        if not (isinstance(each, type) and issubclass(each, Exception)):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise TypeError(f"error {each!r}: a class of exceptions")
    chosen = frozenset(statuses)
    undone = chosen & UNDONE_STATUSES

    def test(outcome: Outcome) -> bool:
        if isinstance(outcome, Response):
            return outcome.status in (chosen if unsafe or outcome.request.method in IDEMPOTENT else undone)
        if not isinstance(outcome, Failed):
            return False
        error = unwrapped(outcome.error)
        if not isinstance(error, errors):
            return False
        return unsafe or outcome.request.method in IDEMPOTENT or isinstance(error, UNDONE_ERRORS)

    return test


transient: Test = worth_a_repeat()
"""True for what may well be over in a moment: no address, no connection, no answer, half an answer, a busy server.

Source: RFC 9110 §15.5.9, §15.6; RFC 6585 §4 (429). 522 and 524 are Cloudflare's.
"""


def ailing(outcome: Outcome) -> bool:
    """True for what speaks against the host, and not just against the page: no connection, no answer, overload."""
    if isinstance(outcome, Response):
        return outcome.status in AILING_STATUSES
    return isinstance(outcome, Failed) and isinstance(outcome.error, HOST_ERRORS)


def unwrapped(error: Exception) -> Exception:
    """What a `fetch` or a layer of the user's own raised; any other error as it is."""
    return error.error if isinstance(error, OperatorError) and isinstance(error.error, Exception) else error


def is_wanted(outcome: Outcome) -> bool:
    """Whether it is a response that the request asked for, by its status or by `only-if-cached`: no failure then."""
    if not isinstance(outcome, Response):
        return False
    wanted = outcome.request.statuses
    return wanted == "any" or outcome.status in wanted or NOT_CACHED in outcome.flags


def is_of_the_past(outcome: Outcome) -> bool:
    """Whether the `http_cache` has answered without the server: that says nothing of how the host is now."""
    return isinstance(outcome, Response) and "cached" in outcome.flags and "revalidated" not in outcome.flags


def retry_after(value: str, now: float) -> float:
    """Seconds that a Retry-After header asks to wait from `now`: 0 if its date is past, or if it says nothing.

    Source: RFC 9110 §10.2.3: delta-seconds or an HTTP-date in any of its three forms (§5.6.7).
    """
    value = value.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):  # fractions are not in the RFC, but on the web
        return float(value)
    parsed = parsedate_tz(value)
    if parsed is None:
        return 0.0
    try:
        return max(0.0, datetime(*parsed[:6], tzinfo=UTC).timestamp() - (parsed[9] or 0) - now)
    except (ValueError, OverflowError):
        return 0.0
