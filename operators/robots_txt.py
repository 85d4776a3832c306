"""Obey robots.txt."""

from __future__ import annotations

from streamcrawl.core import Failed, Outcome, Run
from streamcrawl.errors import InvalidURL
from streamcrawl.operators.redirect import CODES, InvalidRedirect, TooManyRedirects, location_url
from streamcrawl.response import Response
from streamcrawl.robots import RobotsParser, Standing, standing
from streamcrawl.robots_gate import Gate, Policy
from streamcrawl.robots_parsers import parser_named
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.urls import WEB_SCHEMES, scheme_of


def robots_txt(
    *,
    user_agent: str | None = None,
    parser: str | RobotsParser = "protego",
    max_delay: float = 60.0,
    ttl: float = 86_400.0,
    min_ttl: float = 3_600.0,
    unreachable_ttl: float = 600.0,
) -> NamedLayer:
    """Ask for each host's robots.txt first, and drop what it forbids.

    While it is being fetched, through the same layers, the host's other requests wait in the frontier. A file found:
    its rules hold, and the frontier keeps to its Crawl-delay or Request-rate, the slower of them. Any other 3xx or 4xx:
    everything is allowed. 429, 5xx or no answer: nothing is, until it is asked for again; but a file that was had
    before goes on to hold. Not asked for `file:`, `data:` and other schemes than http and https, nor for a request that
    says `skip=("robots_txt",)`.

    A job keeps the answers until their time is over; without one, hosts beyond some 25,000 may be asked again sooner.

    Args:
        user_agent: The name that rules are looked up for; None: the request's User-Agent, else the one of `Wire`, else
            "streamcrawl".
        parser: Reads the file: "protego", "stdlib", "robotexclusionrulesparser", "reppy", or one of your own.
        max_delay: Seconds between two requests that a file may ask for at most; 0: it is not asked.
        ttl: Seconds for which an answer holds, unless its Cache-Control or Expires names a shorter time.
        min_ttl: Seconds for which it holds whatever they say; `ttl` if that is shorter.
        unreachable_ttl: Seconds until a host that gave none is asked again.

    Emits: `Dropped` ("robots.txt", "robots.txt unreachable"), `Failed` with what kept the host from answering at all,
        or what comes from below. One in, one out.
    Raises: ValueError for a time that is not above 0 (`max_delay`, `min_ttl`: below 0), an empty name or an unknown
        parser; FlowError for one whose package is not installed; both when built.
    Source: RFC 9309 §2.2.2, §2.3.1 (what a status means), §2.4 (caching), §2.5 (size). Crawl-delay and Request-rate:
        common use.
    """
    if not (ttl > 0 and unreachable_ttl > 0 and max_delay >= 0 and min_ttl >= 0):
        times = f"{ttl=}, {min_ttl=}, {unreachable_ttl=}, {max_delay=}"
        raise ValueError(f"robots_txt({times}): above 0 s, max_delay and min_ttl 0 or above")
    if user_agent is not None and not user_agent.strip():
        raise ValueError(f"robots_txt({user_agent=}): it must name something")
    read = parser_named(parser) if isinstance(parser, str) else parser
    if not callable(read):
        raise ValueError(f"robots_txt({parser=}): the name of a parser, or a function of (bytes, url)")
    policy = Policy(user_agent, ttl, min_ttl, unreachable_ttl, max_delay, read, _standing, _hop)

    def make(run: Run) -> Hooks:
        return Hooks(down=Gate(run, policy).down)

    return layer("robots_txt", make)


def _standing(outcome: Outcome) -> Standing:
    if isinstance(outcome, Failed) and isinstance(outcome.error, (TooManyRedirects, InvalidRedirect)):
        return Standing.OPEN  # RFC 9309 §2.3.1.2
    return standing(outcome)


def _hop(response: Response) -> str | None:
    """Where a redirect leads that came up unfollowed: there is no layer `redirect`."""
    locations = response.headers.getall("location") if response.status in CODES else ()
    try:
        target = location_url(response.url, locations[0]) if locations else ""
    except InvalidURL:
        return None
    return target if scheme_of(target) in WEB_SCHEMES else None
