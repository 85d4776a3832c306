"""The layer that sends a failed request again, later."""

from __future__ import annotations

from collections.abc import Awaitable
from http import HTTPStatus

from streamcrawl.backoff import Test, Wait, backoff, retry_after, transient
from streamcrawl.core import Again, Failed, Outcome, Request, Run
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.urls import host_of


def retry(
    *,
    times: int = 2,
    wait: Wait = backoff(1.0, ceiling=60.0),  # noqa: B008 - a pure function, made once
    on: Test = transient,
    priority: int = -1,
    max_retry_after: float = 3600.0,
) -> NamedLayer:
    """Send a failed request again, later.

    A 429 or 503 with Retry-After holds back the whole host, not just this request. A status that the request asked
    for (`Request(statuses=…)`) is no failure.

    Args:
        times: Repeats after the first try; 0 or more.
        wait: Seconds before repeat n, n from 1; the server's Retry-After wins if longer.
        on: True for an outcome worth repeating.
        priority: Added to the priority for each repeat: what fails goes behind what may succeed.
        max_retry_after: Seconds of Retry-After that are waited for; a server that asks for more gets no repeat.

    Emits: `Again` while `on` holds and repeats are left, else the outcome itself. One in, one out.
    Raises: ValueError if `times` or `max_retry_after` < 0, when built.
    Source: RFC 9110 §10.2.3 (Retry-After), §15.6.4 (503).
    """
    if times < 0:
        raise ValueError(f"retry(times={times!r}): 0 or more")
    if max_retry_after < 0:
        raise ValueError(f"retry(max_retry_after={max_retry_after!r}): 0 seconds or more")

    def make(run: Run) -> Hooks:
        def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
            if not on(outcome):
                return outcome
            if isinstance(outcome, Response):
                wanted = outcome.request.statuses
                if wanted == "any" or outcome.status in wanted:
                    return outcome
            asked = _asked(run, outcome, max_retry_after)
            origin = outcome.request.origin
            repeat = origin.attempt + 1
            if repeat > times or asked > max_retry_after:
                _count(run, "retry/max_reached" if repeat > times else "retry/retry_after_too_long")
                return outcome
            following = origin.replace(
                attempt=repeat,
                not_before=run.now() + max(wait(repeat, run.random), asked),
                priority=origin.priority + priority,
                answer=None,
            )
            return _again(run, outcome, following)

        return Hooks(up=up)

    return layer("retry", make)


def _again(run: Run, outcome: Outcome, following: Request) -> Outcome | Awaitable[Outcome]:
    reason = _reason(outcome)
    _count(run, "retry/count")
    _count(run, f"retry/reason_count/{reason}")
    again = Again(outcome.request, following, reason)
    if isinstance(outcome, Response) and outcome.stream is not None:
        return _closed(outcome.stream, again)
    return again


def _asked(run: Run, outcome: Outcome, longest: float) -> float:
    """Seconds of rest that the server asks for; the host gets them, if they are not too many."""
    if not isinstance(outcome, Response):
        return 0.0
    values = outcome.headers.getall("retry-after")
    if not values:
        return 0.0
    asked = retry_after(values[0], run.now())
    if outcome.status in (429, 503) and 0 < asked <= longest:
        lease = outcome.request.lease
        run.hosts.slow_down(host_of(outcome.url) if lease is None else lease.host, asked)
    return asked


def _reason(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        return type(outcome.error).__name__
    if not isinstance(outcome, Response):
        return type(outcome).__name__
    try:
        return f"{outcome.status} {HTTPStatus(outcome.status).phrase}"
    except ValueError:
        return str(outcome.status)


def _count(run: Run, key: str) -> None:
    run.stats[key] = run.stats.get(key, 0) + 1


async def _closed(stream: BodyStream, again: Again) -> Again:
    await stream.aclose()  # nobody will read it, and it holds a connection
    return again
