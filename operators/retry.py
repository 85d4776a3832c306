"""The layer that sends a failed request again, later."""

from __future__ import annotations

from collections.abc import Awaitable, Collection

from streamcrawl.backoff import TRANSIENT_ERRORS, TRANSIENT_STATUSES, Test, Wait, is_wanted, worth_a_repeat
from streamcrawl.breaker import CircuitBreaker, RetryBudget, Standings
from streamcrawl.core import Outcome, Request, Run
from streamcrawl.hops import leaving
from streamcrawl.response import Response
from streamcrawl.retrying import (
    POLICIES,
    WAIT,
    Level,
    LevelOf,
    PriorityOf,
    RetryPolicy,
    again,
    give_up,
    reason_of,
    rest_asked,
)
from streamcrawl.streams.counting import count
from streamcrawl.streams.layer import Hooks, NamedLayer, layer

_BREAKER, _BUDGET = CircuitBreaker(), RetryBudget()


def retry(
    *,
    times: int = 2,
    wait: Wait = WAIT,
    statuses: Collection[int] = TRANSIENT_STATUSES,
    errors: tuple[type[Exception], ...] = TRANSIENT_ERRORS,
    unsafe: bool = False,
    on: Test | None = None,
    priority: int | PriorityOf = -1,
    max_retry_after: float = 3600.0,
    give_up_level: Level | LevelOf = "error",
    breaker: CircuitBreaker | None = _BREAKER,
    budget: RetryBudget | None = _BUDGET,
) -> NamedLayer:
    """Send a failed request again, later.

    A 429 or 503 with Retry-After holds back the whole host, not just this request. A status that the request asked
    for (`Request(statuses=…)`) is no failure. A host that fails again and again rests, for growing times, and at last
    is given up for a while: then its requests fail at once.

    Args:
        times: Repeats after the first try; 0 or more. `Request.max_retries` wins.
        wait: Seconds before repeat n, n from 1; the server's Retry-After wins if longer.
        statuses: Worth a repeat.
        errors: Classes that are; also of what a `fetch` of yours raises.
        unsafe: POST and other methods that are not idempotent are repeated even if the server may have acted on them.
        on: True for an outcome worth repeating, instead of `statuses`, `errors` and `unsafe`.
        priority: Added to the priority for each repeat: what fails goes behind what may succeed. Or a function of the
            request that gives it.
        max_retry_after: Seconds of Retry-After that are waited for; a server that asks for more gets no repeat.
        give_up_level: Of the Notice that tells of a request with no repeat left; or a function of the request.
        breaker: When a host rests; None: never.
        budget: How many repeats a host may get for its requests; None: as many as there are.

    Emits: `Again` while repeats are left, Failed with HostGivenUp, else the outcome itself. One in, one out.
    Raises: ValueError for `times` or `max_retry_after` < 0, an unknown level or status, when built.
    Source: RFC 9110 §10.2.3 (Retry-After), §15.6.4 (503).
    """
    policy = RetryPolicy(times, wait, priority, max_retry_after, give_up_level)
    test = on or worth_a_repeat(statuses, errors, unsafe=unsafe)

    def make(run: Run) -> Hooks:
        POLICIES[run] = policy
        standings = Standings(run, breaker, budget)
        hosts = standings.hosts

        def down(request: Request) -> Request | Outcome:
            refused = standings.refusal(request) if hosts else None
            return request if refused is None else refused

        def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
            standings.heard(outcome)
            if not test(outcome) or is_wanted(outcome):
                return outcome
            asked = rest_asked(run, outcome, max_retry_after)
            origin = outcome.request.origin
            times = policy.times_for(origin)
            if not times:
                return outcome
            if origin.attempt >= times:
                give_up(run, origin, reason_of(outcome), policy.level_for(origin))
            elif asked > max_retry_after:
                count(run.stats, "retry/retry_after_too_long")
            elif not standings.pay(outcome.request):
                count(run.stats, "retry/budget_exhausted")
            else:
                following = again(run, outcome, policy, asked)
                return leaving(outcome, following) if isinstance(outcome, Response) else following
            return outcome

        return Hooks(down if breaker is not None else None, up)

    return layer("retry", make)
