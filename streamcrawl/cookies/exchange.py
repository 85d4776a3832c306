"""Cookies put on requests and taken off responses: what the `cookies` layer does in one run."""

from __future__ import annotations

from collections.abc import Iterable

from streamcrawl.backoff import is_of_the_past
from streamcrawl.cookies.cookie import Cookie, Refused
from streamcrawl.cookies.events import CookiesReceived, CookiesSent
from streamcrawl.cookies.files import CookieFileError
from streamcrawl.cookies.jar import cookie_header
from streamcrawl.cookies.jars import OWN, Jars
from streamcrawl.core import Outcome, Request, Run
from streamcrawl.events import Notice
from streamcrawl.mistakes import shortened
from streamcrawl.response import Response
from streamcrawl.urls import hostname_of


class Exchange:
    """One run's cookies on their way down and up.

    Args:
        run: For the time, and to tell.
        jars: Where they are kept.
        write_every: Seconds between two writings of the jars' file; None: there is none.
        same_site: Whether `SameSite` counts.
        debug: Tell everything as Notices too.
    """

    def __init__(self, run: Run, jars: Jars, *, write_every: float | None, same_site: bool, debug: bool) -> None:
        self._run = run
        self._jars = jars
        self._every = write_every
        self._same_site = same_site
        self._debug = debug
        self._written = run.monotonic()
        self._parted = 0
        self._left = False
        """Whether it was told that the file cannot hold all of them."""
        self._replaced: dict[tuple[str | None, str, str], None] = {}
        """Of `Cookie` fields of the user's own, by jar and host, what the answers have set anew or removed."""

    def down(self, request: Request) -> Request:
        jars = self._jars
        if not request.cookies and not jars.size and not self._replaced and not self._debug:
            return request
        url = request.url
        if not url.startswith("http"):
            return request
        now = self._run.now()
        if request.cookies:
            jars.set(request.cookiejar, url, request.cookies, now, again=request.attempt > 0)
            self._changed(now)
        jar = jars.find(request.cookiejar)
        source = request.referrer if self._same_site else None
        found = [] if jar is None else jar.cookies_for(url, now, method=request.method, source=source)
        given = request.headers.getall("cookie")
        if not found and not given:
            return request
        value, own = cookie_header(found), "; ".join(given)
        kept = self._still_own(request, own) if own and self._replaced else own
        if kept:
            value = merged(kept, value)
        headers = request.headers
        if value:
            self._sent(request, found, value)
            headers = headers.set("Cookie", value) if found or kept is not own else headers
        elif kept is not own:
            headers = headers.without("Cookie")
        return request if headers is request.headers else request.replace(headers=headers)

    def up(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Response):
            lines = outcome.headers.getall("set-cookie")
            # The cookies of a stored page were taken when it came; those of a 304 have come just now.
            if lines and not is_of_the_past(outcome) and outcome.url.startswith("http"):
                now = self._run.now()
                results = self._jars.store(outcome.request.cookiejar, outcome.url, lines, now)
                own = outcome.request.origin.headers.getall("cookie")
                if own:
                    self._note(outcome, own, results)
                self._received(outcome, lines, results)
                self._changed(now)
        return outcome

    def _note(self, response: Response, own: Iterable[str], results: list[Cookie | Refused]) -> None:
        """Remember which of the user's own the answer has replaced: hops and repeats carry the field on."""
        names = {each.name for each in results if isinstance(each, Cookie)}
        host = hostname_of(response.url)
        for pair in pairs_of("; ".join(own)):
            if _name(pair) in names:
                self._replaced[response.request.cookiejar, host, pair] = None
                if len(self._replaced) > OWN:
                    del self._replaced[next(iter(self._replaced))]

    def _still_own(self, request: Request, own: str) -> str:
        """What the field says that goes along with a hop or a repeat; of any other request all of it."""
        if not (request.via or request.attempt):
            return own
        jar, host, pairs = request.cookiejar, hostname_of(request.url), pairs_of(own)
        left = [pair for pair in pairs if (jar, host, pair) not in self._replaced]
        return own if len(left) == len(pairs) else "; ".join(left)

    async def close(self) -> None:
        """Write the file for the last time."""
        if self._jars.unwritten:
            error = self._write(self._run.now())
            if error is not None:
                self._run.fail(error)

    def _changed(self, now: float) -> None:
        jars = self._jars
        if self._every is not None and jars.unwritten and self._run.monotonic() - self._written >= self._every:
            self._written = self._run.monotonic()
            self._write(now)
        if jars.parted and not self._parted:
            self._tell(
                "cookies: too many jars, or too many cookies in them; jars not used for long are dropped", "warning"
            )
        self._parted = jars.parted

    def _write(self, now: float) -> CookieFileError | None:
        try:
            left = self._jars.write(now)
        except CookieFileError as error:
            self._tell(f"cookies: they could not be written: {error}", "error")
            return error
        if left and not self._left:
            self._left = True
            names = ", ".join(shortened(name, 40) for name in left[:5]) + (", …" if len(left) > 5 else "")
            self._tell(f"cookies: the file's format cannot hold {names}; no more is said of that", "warning")
        return None

    # ---- telling

    def _sent(self, request: Request, found: list[Cookie], header: str) -> None:
        events = self._run.events
        if events.wants(CookiesSent):
            events.emit(CookiesSent(url=request.url, cookies=tuple(found), header=header, cookiejar=request.cookiejar))
        if self._debug:
            self._tell(f"cookies sent with {request.method} {request.url}: {header}", "debug")

    def _received(self, response: Response, lines: Iterable[str], results: list[Cookie | Refused]) -> None:
        events = self._run.events
        if events.wants(CookiesReceived):
            taken = tuple(each for each in results if isinstance(each, Cookie))
            refused = tuple(each for each in results if isinstance(each, Refused))
            jar = response.request.cookiejar
            events.emit(CookiesReceived(url=response.url, cookies=taken, refused=refused, cookiejar=jar))
        if self._debug:
            for line, result in zip(lines, results, strict=True):
                why = f" (refused: {result.reason})" if isinstance(result, Refused) else ""
                self._tell(f"cookies received from {response.status} {response.url}: {line}{why}", "debug")

    def _tell(self, text: str, level: str) -> None:
        if self._run.events.wants(Notice):
            self._run.events.emit(Notice(text=text, level=level))


def merged(own: str, more: str) -> str:
    """A `Cookie` header with all pairs of `own`, and those of `more` whose names it lacks."""
    pairs = pairs_of(own)
    names = {_name(pair) for pair in pairs}
    pairs += [pair for pair in more.split("; ") if pair and _name(pair) not in names]
    return "; ".join(pairs)


def pairs_of(field: str) -> list[str]:
    """The pairs in a `Cookie` field."""
    return [pair for part in field.split(";") if (pair := part.strip(" \t"))]


def _name(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return name.rstrip(" \t") if equals else ""
