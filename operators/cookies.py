"""The layer that keeps the cookies that servers set, and sends them back."""

from __future__ import annotations

from collections.abc import Callable

from streamcrawl.cookies import CookieJar
from streamcrawl.core import Outcome, Request, Run
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer


def cookies(*, jar: Callable[[], CookieJar] = CookieJar) -> NamedLayer:
    """Keep the cookies that servers set, and send them back where they belong, as browsers do.

    `Request(cookies={…})` puts cookies of your own into the jar, for the whole host. A `Cookie` header of your own is
    sent as well, with that request only; where it names a cookie that the jar has too, yours is sent.

    Its place is below `redirect` and `retry`, so that what a redirecting page sets is kept.

    Args:
        jar: Makes the jar; called once a run, so that two runs share nothing.

    Emits: the same Requests with a `Cookie` header, the same outcomes. One in, one out.
    Source: RFC 6265bis.
    """

    def make(run: Run) -> Hooks:
        kept = jar()

        def down(request: Request) -> Request:
            if not request.cookies and not len(kept):
                return request
            url = request.url
            if not url.startswith("http"):
                return request
            now = run.now()
            if request.cookies:
                kept.set(url, request.cookies, now)
            own = request.headers.get("cookie")
            known = kept.header_for(url, now)
            value = known if own is None else merged(own, known)
            return request.replace(headers=request.headers.set("Cookie", value)) if value else request

        def up(outcome: Outcome) -> Outcome:
            if isinstance(outcome, Response):
                lines = outcome.headers.getall("set-cookie")
                if lines and outcome.url.startswith("http"):
                    kept.store(outcome.url, lines, run.now())
            return outcome

        return Hooks(down, up)

    return layer("cookies", make)


def merged(own: str, more: str) -> str:
    """A `Cookie` header with all pairs of `own`, and those of `more` whose names it lacks."""
    pairs = [pair for part in own.split(";") if (pair := part.strip(" \t"))]
    names = {_name(pair) for pair in pairs}
    pairs += [pair for pair in more.split("; ") if pair and _name(pair) not in names]
    return "; ".join(pairs)


def _name(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return name.rstrip(" \t") if equals else ""
