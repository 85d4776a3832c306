"""Repeats: what `retry` makes of an outcome, and `get_retry_request` for callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeAlias
from weakref import WeakKeyDictionary

from streamcrawl.backoff import Wait, backoff, is_of_the_past, retry_after, unwrapped, waited
from streamcrawl.breaker import host_for
from streamcrawl.core import RUN, Again, Failed, Outcome, Request, Run
from streamcrawl.events import Notice
from streamcrawl.hops import once_more
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.transport.body import shown

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
LEVELS = ("debug", "info", "warning", "error")
LevelOf: TypeAlias = Callable[[Request], Level]
"""The level for a request, made of its `meta` for example."""
PriorityOf: TypeAlias = Callable[[Request], int]
"""What is added to the priority of a request."""
WAIT = backoff(1.0, ceiling=60.0)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, when and how loud. See `retry` for the arguments."""

    times: int = 2
    wait: Wait = WAIT
    priority: int | PriorityOf = -1
    max_retry_after: float = 3600.0
    give_up_level: Level | LevelOf = "error"

    def __post_init__(self) -> None:
        if self.times < 0:
            raise ValueError(f"retry(times={self.times!r}): 0 or more")
        if not self.max_retry_after >= 0:
            raise ValueError(f"retry(max_retry_after={self.max_retry_after!r}): 0 seconds or more")
        if not callable(self.give_up_level) and self.give_up_level not in LEVELS:
            raise ValueError(f"retry(give_up_level={self.give_up_level!r}): one of {', '.join(LEVELS)}")

    def times_for(self, request: Request) -> int:
        """Repeats that the request may have."""
        return self.times if request.max_retries is None else request.max_retries

    def priority_for(self, request: Request) -> int:
        """What is added to the request's priority."""
        return self.priority(request) if callable(self.priority) else self.priority

    def level_for(self, request: Request) -> Level:
        """Of the Notice that the request has no repeat left."""
        return self.give_up_level(request) if callable(self.give_up_level) else self.give_up_level


POLICIES: WeakKeyDictionary[Run, RetryPolicy] = WeakKeyDictionary()
"""What the `retry` layer of each run was told: `get_retry_request` does likewise."""


def get_retry_request(
    request: Request,
    *,
    reason: str | BaseException | type[BaseException] = "unspecified",
    times: int | None = None,
    wait: Wait | None = None,
    priority: int | None = None,
    give_up_level: Level | None = None,
    stats_key: str = "retry",
) -> Request | None:
    """The request once more, for a callback to yield; None when no repeat is left.

    For a page that came well and yet is not what was asked for: a captcha, an empty list, a page half-made. What is
    yielded is let in although it was seen, once; where it redirects to is asked like any hop. The circuit breaker and
    the budget of `retry` are not asked: it is you who wants it.

    Args:
        request: Of the response, or of what the errback got.
        reason: For the counters; of an exception its name.
        times: Repeats after the first try; None: `request.max_retries`, else as the run's `retry` layer has it, else 2.
        wait: Seconds before repeat n; None: as the layer has it.
        priority: Added to the request's; None: as the layer has it.
        give_up_level: Of the Notice that tells of the end; None: as the layer has it.
        stats_key: What its counters begin with: KEY/count, KEY/reason_count/REASON, KEY/max_reached.

    Raises: RuntimeError outside a run; ValueError for `times` < 0 or an unknown level.
    """
    run = RUN.get(None)
    if run is None:
        raise RuntimeError("get_retry_request() works inside a crawl's callbacks")
    layer = POLICIES.get(run, RetryPolicy())
    given = RetryPolicy(
        times=layer.times_for(request) if times is None else times,
        wait=wait or layer.wait,
        priority=layer.priority if priority is None else priority,
        give_up_level=give_up_level or layer.give_up_level,
    )
    text = reason if isinstance(reason, str) else name_of(reason)
    origin = request.origin
    if origin.attempt >= given.times:
        give_up(run, origin, text, given.level_for(origin), stats_key)
        return None
    count_repeat(run, text, stats_key)
    return once_more(repeated(run, origin, given))


def repeated(run: Run, origin: Request, policy: RetryPolicy, asked: float = 0.0) -> Request:
    """The next try of a request, in `asked` seconds at the earliest."""
    repeat = origin.attempt + 1
    return origin.replace(
        attempt=repeat,
        not_before=run.now() + max(waited(policy.wait, repeat, run.random), asked),
        priority=origin.priority + policy.priority_for(origin),
        answer=None,
    )


def again(run: Run, outcome: Outcome, policy: RetryPolicy, asked: float = 0.0) -> Again:
    """The outcome's request once more, counted."""
    reason = reason_of(outcome)
    count_repeat(run, reason)
    return Again(outcome.request, repeated(run, outcome.request.origin, policy, asked), reason)


def rest_asked(run: Run, outcome: Outcome, longest: float) -> float:
    """Seconds of rest that the server asks for; the host gets them, if they are not too many.

    Source: RFC 9110 §10.2.3; RFC 6585 §4.
    """
    if not isinstance(outcome, Response) or is_of_the_past(outcome):
        return 0.0
    values = outcome.headers.getall("retry-after")
    if not values:
        return 0.0
    asked = retry_after(values[0], run.now())
    if outcome.status in (429, 503) and 0 < asked <= longest:
        run.hosts.slow_down(host_for(outcome.request), asked)
    return asked


def give_up(run: Run, request: Request, reason: str, level: Level, key: str = "retry") -> None:
    """Count and tell that no repeat is left."""
    count(run.stats, f"{key}/max_reached")
    if run.events.wants(Notice):
        tries = request.attempt + 1
        text = f"{key}: gave up {shown(request.url)} after {tries} {'try' if tries == 1 else 'tries'}: {reason}"
        run.events.emit(Notice(text=text, level=level))


def count_repeat(run: Run, reason: str, key: str = "retry") -> None:
    count(run.stats, f"{key}/count")
    count(run.stats, f"{key}/reason_count/{reason}")


def reason_of(outcome: Outcome) -> str:
    """An outcome in a word or two, as counters name it."""
    if isinstance(outcome, Failed):
        return name_of(unwrapped(outcome.error))
    if not isinstance(outcome, Response):
        return type(outcome).__name__
    try:
        return f"{outcome.status} {HTTPStatus(outcome.status).phrase}"
    except ValueError:
        return str(outcome.status)


def name_of(error: BaseException | type[BaseException]) -> str:
    return error.__name__ if isinstance(error, type) else type(error).__name__
