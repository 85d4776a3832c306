"""The layer that keeps the cookies that servers set, and sends them back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from streamcrawl.cookies.exchange import Exchange
from streamcrawl.cookies.jar import CookieJar
from streamcrawl.cookies.jars import Jars
from streamcrawl.core import Run
from streamcrawl.streams.layer import Hooks, NamedLayer, layer


def cookies(
    *,
    jar: Callable[[], CookieJar] = CookieJar,
    file: str | os.PathLike[str] | None = None,
    write_every: float = 60.0,
    jars: int = 1_000,
    total: int = 50_000,
    same_site: bool = True,
    debug: bool = False,
) -> NamedLayer:
    """Keep the cookies that servers set, and send them back where they belong.

    `Request(cookiejar="anna")` has a jar of its own, and so have its redirects and the links of its page. `Request(
    cookies={…})` puts cookies of your own into the jar, for the whole host; a list of dicts or `Cookie`s says domain,
    path and secure. A `Cookie` header of your own is sent as well, with that request only; where it names a cookie that
    the jar has too, yours is sent, but by no hop or repeat after an answer has set that cookie anew. `Request(skip=(
    "cookies",))` goes out without, and what its answer sets is ignored.

    Its place is below `redirect` and `retry`, so that what a redirecting page sets is kept, and above `http_cache`:
    what a page set when it was put into the cache is not set again when it is taken from there.

    A job keeps the jars, cookies without a date included: a run that goes on has the cookies that it left off with.
    What `jar` or `file` brings then counts only where it is new: a cookie that it brought last time too, with the same
    value, is as the servers have left it since, be it another or gone.

    Args:
        jar: Makes a jar; called once for each jar of a run, so that two runs share nothing.
        file: Read when a run begins, if it is there, and written when it ends. Netscape's cookies.txt, or JSON if its
            name ends in ".json"; only JSON has the jars that have a name.
        write_every: Seconds after which a `file` is written anew while the run goes on.
        jars: Jars that have a name; the one that was used longest ago goes first. 1 or more.
        total: Cookies in all jars; beyond it jars that have a name go, in the same order. 1 or more.
        same_site: Keep back `SameSite` cookies where `Request.referrer` names another site, as a browser does.
        debug: Tell each `Cookie` sent and `Set-Cookie` received as a `Notice` of level "debug".

    Emits: the same Requests with a `Cookie` header, the same outcomes. One in, one out.
    Raises: ValueError for a bound below 1 or a time of 0 or less, when built; CookieFileError for a `file` that cannot
        be read, when a run begins.
    Source: RFC 6265bis §5; RFC 6265 §5.2 for no name and an empty Domain, unless the jar is `like_browsers`.
    """
    if jars < 1 or total < 1 or not write_every > 0:
        raise ValueError(f"cookies({jars=}, {total=}, {write_every=}): 1 or more jars and cookies, above 0 s")
    if file is not None and not Path(file).name:
        raise ValueError(f"cookies({file=}): it names no file")

    def make(run: Run) -> Hooks:
        state = run.state("cookies") if run.durable else None
        kept = Jars(jar, limit=jars, total=total, state=state, file=file, now=run.now())
        every = None if file is None else write_every
        exchange = Exchange(run, kept, write_every=every, same_site=same_site, debug=debug)
        if file is not None:
            run.closing(exchange.close)
        return Hooks(exchange.down, exchange.up)

    return layer("cookies", make)
