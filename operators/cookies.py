"""The layer that keeps the cookies that servers set, and sends them back."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from operator import attrgetter
from typing import Any

from streamcrawl.cookies import Cookie, CookieJar
from streamcrawl.core import Outcome, Request, Run
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer

GIVEN = "(given)"
"""Where a job keeps which cookies the jar had at first; no domain has parentheses."""

_row = attrgetter(*Cookie.__slots__)
_given = attrgetter("name", "domain", "path", "host_only", "value")


def cookies(*, jar: Callable[[], CookieJar] = CookieJar) -> NamedLayer:
    """Keep the cookies that servers set, and send them back where they belong, as browsers do.

    `Request(cookies={…})` puts cookies of your own into the jar, for the whole host. A `Cookie` header of your own is
    sent as well, with that request only; where it names a cookie that the jar has too, yours is sent.

    Its place is below `redirect` and `retry`, so that what a redirecting page sets is kept.

    A job keeps the jar, cookies without a date included: a run that goes on has the cookies that it left off with.
    What `jar` brings then counts only where it is new: a cookie that it brought last time too, with the same value, is
    as the servers have left it since, be it another or gone.

    Args:
        jar: Makes the jar; called once a run, so that two runs share nothing.

    Emits: the same Requests with a `Cookie` header, the same outcomes. One in, one out.
    Source: RFC 6265bis.
    """

    def make(run: Run) -> Hooks:
        kept = jar()
        save = _remembering(kept, run.state("cookies"), run.now()) if run.durable else None

        def down(request: Request) -> Request:
            if not request.cookies and not len(kept):
                return request
            url = request.url
            if not url.startswith("http"):
                return request
            now = run.now()
            if request.cookies:
                kept.set(url, request.cookies, now)
                if save is not None:
                    save(now)
            own = request.headers.get("cookie")
            known = kept.header_for(url, now)
            value = known if own is None else merged(own, known)
            return request.replace(headers=request.headers.set("Cookie", value)) if value else request

        def up(outcome: Outcome) -> Outcome:
            if isinstance(outcome, Response):
                lines = outcome.headers.getall("set-cookie")
                if lines and outcome.url.startswith("http"):
                    now = run.now()
                    kept.store(outcome.url, lines, now)
                    if save is not None:
                        save(now)
            return outcome

        return Hooks(down, up)

    return layer("cookies", make)


def _remembering(jar: CookieJar, state: MutableMapping[str, Any], now: float) -> Callable[[float], None]:
    """Put into the jar what the job has of it. What is given keeps what changes from now on; call it after changes."""
    given = [*jar]
    before = {tuple(each) for each in state.get(GIVEN, ())}
    stored: dict[str, list[Any]] = {domain: state[domain] for domain in [*state] if domain != GIVEN}
    dirty: set[str] = set()
    jar.clear()
    jar.changed = dirty.add
    # What was used last comes last: a full jar parts with the others first.
    for rows in sorted(stored.values(), key=lambda rows: max(row[-1] for row in rows)):
        for row in rows:
            jar.add(Cookie(*row), now)
    dirty.clear()
    dirty.update(domain for domain, rows in stored.items() if rows != _rows(jar, domain, now))
    for each in given:
        if _given(each) not in before:
            jar.add(each, now)
    brought = {_given(each) for each in given if _storable(each)}
    if brought != before:
        state[GIVEN] = [list(each) for each in brought]

    def save(now: float) -> None:
        for domain in dirty:
            rows = _rows(jar, domain, now)
            if rows:
                state[domain] = rows
            else:
                state.pop(domain, None)
        dirty.clear()

    save(now)
    return save


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


def merged(own: str, more: str) -> str:
    """A `Cookie` header with all pairs of `own`, and those of `more` whose names it lacks."""
    pairs = [pair for part in own.split(";") if (pair := part.strip(" \t"))]
    names = {_name(pair) for pair in pairs}
    pairs += [pair for pair in more.split("; ") if pair and _name(pair) not in names]
    return "; ".join(pairs)


def _name(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return name.rstrip(" \t") if equals else ""
