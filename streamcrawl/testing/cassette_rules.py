"""What a cassette keeps of a request, and what makes two requests the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from urllib.parse import unquote_plus

from streamcrawl.core import Request
from streamcrawl.headers import Headers
from streamcrawl.urls import canonical, digest, normalize, without_fragment

SECRETS = ("authorization", "cookie", "proxy-authorization", "set-cookie")
"""Header fields whose values are not written down, unless it is asked for."""

REDACTED = "REDACTED"
"""Stands where a secret was."""

_BOUNDARY = re.compile(r'^\s*multipart/[^;]+;.*?\bboundary="?([^";]+)"?', re.IGNORECASE)
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_ADDRESSES = frozenset({"content-location", "location", "referer"})
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is left out, and what a request is known by besides its method, URL and body.

    Args:
        match: Names of request header fields that make another request of the same URL.
        redact: Names of header fields whose values are not kept; with a "?" before it, the name of an argument of a URL
            or a form. With any, credentials in URLs are not kept either.
        scrub: Changes every text that is kept (URLs, values of header fields, bodies that are text), also of a request
            that is looked for.

    Raises: ValueError for what is no name.
    """

    match: tuple[str, ...] = ()
    redact: tuple[str, ...] = SECRETS
    scrub: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        for option, names in (("match", self.match), ("redact", self.redact)):
            for name in names:
                argument = option == "redact" and name.startswith("?")
                if not (len(name) > 1 if argument else _TOKEN.match(name)):
                    raise ValueError(f"{option}={name!r}: the name of a header field, such as 'accept-language'")

    @classmethod
    def of(
        cls, match: Collection[str] = (), redact: Collection[str] = SECRETS, scrub: Callable[[str], str] | None = None
    ) -> Rules:
        """The rules of these names, in any order and case. Raises: TypeError for a text instead of several."""
        for option, names in (("match", match), ("redact", redact)):
            if isinstance(names, str):
                raise TypeError(f"{option}={names!r}: several names, ({names!r},)")
        if scrub is not None and not callable(scrub):
            raise TypeError(f"scrub={scrub!r}: a function that takes a text and gives one")
        kept = {name if name.startswith("?") else name.lower() for name in redact}
        return cls(tuple(sorted({name.lower() for name in match})), tuple(sorted(kept)), scrub)

    # -- what is kept -----------------------------------------------------------------------------------------------

    def url(self, url: str) -> str:
        """The URL, normalized, without fragment and secrets."""
        url = without_fragment(normalize(url))
        if self.redact:
            scheme, mark, rest = url.partition("://")
            end = min((at for each in "/?" if (at := rest.find(each)) >= 0), default=len(rest))
            if mark and "@" in rest[:end]:
                url = f"{scheme}://{rest[:end].rpartition('@')[2]}{rest[end:]}"
            page, mark, query = url.partition("?")
            if mark:
                url = f"{page}?{self._arguments(query)}"
        return self.text(url)

    def headers(self, headers: Headers) -> tuple[tuple[str, str], ...]:
        """The header fields, without the values that are secret."""
        return tuple((name, self.text(self._value(name.lower(), value))) for name, value in headers.pairs())

    def body(self, body: bytes, content_type: str | None) -> bytes:
        """A request's body, without secrets, and without what differs each time it is made: a multipart boundary."""
        if not body:
            return body
        kind = content_type or ""
        if kind.partition(";")[0].strip().lower() == _FORM:
            body = self._arguments(body.decode("latin-1")).encode("latin-1")
        elif (found := _BOUNDARY.match(kind)) is not None:
            body = body.replace(found[1].encode(), b"boundary")
        if self.scrub is None:
            return body
        try:
            return self.scrub(body.decode()).encode()
        except UnicodeDecodeError:
            return body

    def text(self, text: str) -> str:
        """What is kept of a text."""
        return text if self.scrub is None else self.scrub(text)

    def _value(self, name: str, value: str) -> str:
        if name not in self.redact:
            page, mark, query = value.partition("?") if name in _ADDRESSES else (value, "", "")
            return f"{page}?{self._arguments(query)}" if mark else value
        if name == "cookie":
            return "; ".join(_pair(each) for each in value.split(";"))
        if name == "set-cookie":
            cookie, mark, attributes = value.partition(";")
            return f"{_pair(cookie)}{mark}{attributes}"
        scheme, space, _ = value.partition(" ")
        return f"{scheme} {REDACTED}" if name.endswith("authorization") and space else REDACTED

    def _arguments(self, query: str) -> str:
        names = {name[1:] for name in self.redact if name.startswith("?")}
        if not names:
            return query
        pairs = (pair.partition("=") for pair in query.split("&"))
        return "&".join(
            f"{name}={REDACTED}" if mark and unquote_plus(name) in names else f"{name}{mark}{value}"
            for name, mark, value in pairs
        )

    # -- what it is known by ----------------------------------------------------------------------------------------

    def key(self, request: Request) -> str:
        """What two requests have in common that are answered alike."""
        body = self.body(request.body, request.headers.get("content-type"))
        kept = self.headers(request.headers)
        names = {*self.match, *(name.lower() for name in request.fingerprint_headers)}
        return key_of(request.method, self.url(request.url), body, kept, names, request.cookiejar)


def key_of(
    method: str,
    url: str,
    body: bytes,
    headers: Iterable[tuple[str, str]],
    match: Collection[str],
    cookiejar: str | None,
) -> str:
    """The key of a request of which only this is kept."""
    chosen = sorted(f"{name.lower()}:{value}" for name, value in headers if name.lower() in match)
    parts = (method, canonical(url), body.hex(), "" if cookiejar is None else f"jar {cookiejar}", *chosen)
    return digest("\n".join(parts)).hex()


def _pair(cookie: str) -> str:
    name, mark, value = cookie.strip().partition("=")
    return f"{name}={REDACTED}" if mark and value.strip() else f"{name}{mark}"
