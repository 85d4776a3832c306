"""What the `cookies` layer tells of the cookies that come and go."""

from __future__ import annotations

from streamcrawl.cookies.cookie import Cookie, Refused
from streamcrawl.events import Event


class CookiesReceived(Event, frozen=True):
    """A response has set cookies. `refused`: what was not taken, each with the reason. `cookiejar`: the jar's name."""

    url: str
    cookies: tuple[Cookie, ...]
    refused: tuple[Refused, ...] = ()
    cookiejar: str | None = None


class CookiesSent(Event, frozen=True):
    """A request goes out with cookies. `header`: the whole `Cookie` field, with what the user wrote into it."""

    url: str
    cookies: tuple[Cookie, ...]
    header: str
    cookiejar: str | None = None
