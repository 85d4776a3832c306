"""Obey robots.txt."""

from __future__ import annotations

from streamcrawl.core import Failed, Outcome, Run
from streamcrawl.operators.redirect import TooManyRedirects
from streamcrawl.robots import Gate, Policy, RobotsParser, Standing, protego_parser, standing
from streamcrawl.streams.layer import Hooks, NamedLayer, layer


def robots_txt(
    *,
    user_agent: str | None = None,
    ttl: float = 86_400.0,
    unreachable_ttl: float = 600.0,
    max_delay: float = 60.0,
    parser: RobotsParser = protego_parser,
) -> NamedLayer:
    """Ask for each host's robots.txt first, and drop what it forbids.

    While it is being fetched, through the same layers, the host's other requests wait in the frontier. A file found:
    its rules hold, and its Crawl-delay. Any other 3xx or 4xx: everything is allowed. 429, 5xx or no answer: nothing is,
    until it is asked for again; but a file that was had before goes on to hold. Not asked for `file:`, `data:` and
    other schemes than http and https.

    A job keeps the answers until their time is over; without one, hosts beyond some 25,000 may be asked again sooner.

    Args:
        user_agent: The name that rules are looked up for; None: the request's User-Agent, else "streamcrawl".
        ttl: Seconds for which an answer holds.
        unreachable_ttl: Seconds until a host that gave none is asked again.
        max_delay: Seconds that a Crawl-delay may take at most; 0: Crawl-delay is ignored.
        parser: Reads the file.

    Emits: `Dropped` ("robots.txt", "robots.txt unreachable"), `Failed` with what kept the host from answering at all,
        or what comes from below. One in, one out.
    Raises: ValueError for a time that is not above 0 (`max_delay`: below 0) or an empty name, when built.
    Source: RFC 9309 §2.2.2, §2.3.1 (what a status means), §2.4 (caching), §2.5 (size). Crawl-delay: common use.
    """
    if not (ttl > 0 and unreachable_ttl > 0 and max_delay >= 0):
        raise ValueError(f"robots_txt({ttl=}, {unreachable_ttl=}, {max_delay=}): above 0 s, max_delay 0 or above")
    if user_agent is not None and not user_agent.strip():
        raise ValueError(f"robots_txt({user_agent=}): it must name something")
    policy = Policy(user_agent, ttl, unreachable_ttl, max_delay, parser, _standing)

    def make(run: Run) -> Hooks:
        return Hooks(down=Gate(run, policy).down)

    return layer("robots_txt", make)


def _standing(outcome: Outcome) -> Standing:
    if isinstance(outcome, Failed) and isinstance(outcome.error, TooManyRedirects):
        return Standing.OPEN  # RFC 9309 §2.3.1.2
    return standing(outcome)
