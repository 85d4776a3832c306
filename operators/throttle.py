"""How fast each host is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from reactivex import Observable
from reactivex.disposable import SingleAssignmentDisposable

from streamcrawl.core import Failed, Outcome, Run
from streamcrawl.errors import OperatorError
from streamcrawl.frontier.rates import Rate, Rule
from streamcrawl.mistakes import shortened
from streamcrawl.rate_patterns import Patterns, checked_rule
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, Up, layer
from streamcrawl.streams.scheduler import RunScheduler
from streamcrawl.throttling import (
    REFUSALS,
    AutoThrottle,
    Driven,
    Paced,
    Pushback,
    Slowing,
    Tuning,
    came_over_the_wire,
    rest,
)

Rates: TypeAlias = "Observable[tuple[str, Rate | None]]"
"""(a Host, or a pattern of `rules`; its rate from now on, None: the stream has no say any more)."""

RULES, RATES = "throttle(rules=…)", "throttle(rates=…)"


def throttle(
    *,
    rules: Mapping[str, Rate] | Rule | None = None,
    rates: Rates | Callable[[Run], Rates] | None = None,
    auto: AutoThrottle | None = None,
    pushback: Pushback | None = Pushback(),  # noqa: B008 - frozen
    max_retry_after: float = 3600.0,
) -> NamedLayer:
    """Ask each host as fast as rules, its answers, or a stream of rates allow.

    It makes a crawl slower, never faster than `Crawl(delay=…, per_host=…, slots=…)` has it: where several have a say
    (robots.txt too) the longest delay, the fewest requests at once and the largest jitter hold. It holds no request
    itself: they wait in the frontier. With no crawl around, only Retry-After counts.

    Args:
        rules: Rates from the first request on, by pattern: a Host ("https://example.org"), a slot, a host name, with
            its port or without, the subdomains of one ("*.example.org"), or "*"; the closest counts. Or a function of
            a Host or slot.
        rates: What holds from now on, subscribed for each run; or a function of the run that makes it.
        auto: Delays that follow each host's latency; None: none.
        pushback: How a host that answers 429 or 503 is slowed down, and recovers; None: not at all.
        max_retry_after: Seconds of Retry-After that are waited for; what is longer is ignored. 0: all of it.

    Emits: each outcome as it is. One in, one out.
    Raises: ValueError or TypeError for a rule that is none, or `max_retry_after` < 0, when built.
    Source: RFC 6585 §4 (429), RFC 9110 §10.2.3 (Retry-After), §15.6.4 (503).
    """
    if not max_retry_after >= 0:
        raise ValueError(f"throttle(max_retry_after={max_retry_after!r}): 0 seconds or more")
    rule = None if rules is None else _rule(rules)
    if rates is not None and not callable(getattr(rates, "subscribe", rates)):
        raise TypeError(f"throttle(rates={rates!r}): an Observable, or a function of the run that gives one")

    def make(run: Run) -> Hooks:
        paced = run.hosts if isinstance(run.hosts, Paced) else None
        if rule is not None and paced is not None:
            paced.set_rule(checked_rule(rule, RULES, run.fail) if rule is rules else rule, by="throttle rules")
        tuning = None if auto is None or paced is None else Tuning(run, paced, auto)
        if rates is not None:
            _drive(run, _stream(rates, run))
        # Without pushback, hosts that were slowed down when a job was stopped recover all the same.
        slowing = Slowing(run, Pushback(statuses=()) if pushback is None else pushback)
        return Hooks(up=_listening(run, slowing, tuning, max_retry_after))

    return layer("throttle", make)


def _listening(run: Run, slowing: Slowing, tuning: Tuning | None, longest: float) -> Up:
    statuses, errors = frozenset(slowing.policy.statuses), slowing.policy.errors
    slowed, telling = slowing.hosts, statuses | REFUSALS

    def refused(response: Response) -> None:
        if came_over_the_wire(response):
            if response.status in REFUSALS:
                rest(run, response, longest)
            if response.status in statuses:
                slowing.refused(response)

    def up(outcome: Outcome) -> Outcome:
        if isinstance(outcome, Response):
            status = outcome.status
            if status in telling:
                refused(outcome)
            elif slowed and status < 400:
                slowing.went_well(outcome)
            if tuning is not None:
                tuning.answered(outcome)
        elif errors and isinstance(outcome, Failed) and isinstance(outcome.error, errors):
            slowing.refused(outcome)
        return outcome

    return up


def _rule(rules: Mapping[str, Rate] | Rule) -> Rule:
    """Raises: ValueError, TypeError, for a pattern or a rate that is none."""
    if callable(rules):
        return rules
    try:
        return Patterns(rules)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{RULES}: {error}") from None


def _stream(rates: Rates | Callable[[Run], Rates], run: Run) -> Rates:
    """The stream of rates for a run. Raises: OperatorError, TypeError, if a function makes none."""
    if not callable(rates):
        return rates
    try:
        made = rates(run)
    except Exception as error:
        raise OperatorError(RATES, error) from error
    if not callable(getattr(made, "subscribe", None)):
        raise TypeError(f"{RATES}: the function gave {shortened(made, 80)}; it must give an Observable")
    return made


def _drive(run: Run, rates: Rates) -> None:
    driven = Driven(run)

    def on_next(pair: tuple[str, Rate | None]) -> None:
        try:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison] - users err
                raise TypeError(f"the stream gave {shortened(pair, 80)}; it must give (name, Rate or None)")
            name, rate = pair
            driven.set(name, rate)
        except (TypeError, ValueError) as error:
            subscription.dispose()
            kind = TypeError if isinstance(error, TypeError) else ValueError
            run.fail(kind(f"{RATES}: {error}"))

    def on_error(error: Exception) -> None:
        wrapped = OperatorError(RATES, error)
        wrapped.__cause__ = error
        run.fail(wrapped)

    async def dispose() -> None:
        subscription.dispose()

    subscription = SingleAssignmentDisposable()

    # Timers of its own: a stream that ticks for ever is nothing that the run would wait for.
    scheduler = RunScheduler(run.loop, run.now)
    subscription.disposable = rates.subscribe(on_next, on_error, scheduler=scheduler)
    run.closing(dispose)
