"""Basic authentication, for the sites it is meant for and no others."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias
from unicodedata import normalize

from streamcrawl.core import Request, Run
from streamcrawl.events import Notice
from streamcrawl.headers import NO_HEADERS
from streamcrawl.referrer import is_loopback
from streamcrawl.scoping import domain_test
from streamcrawl.streams.counting import count
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.urls import WEB_SCHEMES, host_of, hostname_of, scheme_of

Charset: TypeAlias = Literal["utf-8", "latin-1"]

HOSTS = 4096
"""Hosts that are remembered at a time, with what they get."""


def http_auth(
    user: str | None = None,
    password: str = "",
    *,
    domain: str | Iterable[str] = (),
    accounts: Mapping[str, tuple[str, str]] | None = None,
    insecure: bool = False,
    charset: Charset = "utf-8",
) -> NamedLayer:
    """Log in with a name and a password (Basic) where a request does not log in by itself.

    Credentials go to their domain and its subdomains, to no other host, and over https only; to this machine over http
    too. A request that has an `Authorization` field, or credentials in its URL, keeps them. Hops are made from the
    request as it was before this layer, so a redirect to another domain takes nothing along.

    Args:
        user: Any text without a colon.
        password: Any text.
        domain: Whom they are for: one or several domain names, or "any" for every host that is crawled.
        accounts: Domain name to (user, password), for several of them; the longest name that fits wins.
        insecure: Send them over http as well, where everybody on the way can read them.
        charset: What non-ASCII characters are sent in: "utf-8", or "latin-1" for old servers.

    Emits: what comes from below. One in, one out.
    Raises: ValueError without a domain, for a bad one, for a user or a password that cannot be sent, when built.
    Source: RFC 7617 §2 (Basic), §2.1 (charset); RFC 9110 §11.6.2 (Authorization).
    """
    names = (domain,) if isinstance(domain, str) else tuple(domain)
    if user is None and not accounts:
        raise ValueError("http_auth() with neither a user nor accounts has nothing to send")
    if user is not None and not names:
        raise ValueError('http_auth(user, password): say whom they are for: domain="…", or domain="any"')
    if user is None and names:
        raise ValueError(f"http_auth({domain=}): there is no user for it; accounts have domains of their own")
    given = dict.fromkeys(names, (user, password)) if user is not None else {}
    fields = {name: basic(*account, charset) for name, account in {**(accounts or {}), **given}.items()}
    find = _finder(fields)

    def make(run: Run) -> Hooks:
        return Hooks(down=_sending(run, find, insecure))

    return layer("http_auth", make)


def basic(user: str, password: str, charset: Charset = "utf-8") -> str:
    """The value of an Authorization field. Raises: ValueError, without telling the password."""
    if ":" in user:
        raise ValueError("http_auth(user=…): a user name with a colon cannot be sent (RFC 7617 §2)")
    text = f"{user}:{password}"
    if any(ord(each) < 0x20 or ord(each) == 0x7F for each in text):
        raise ValueError("http_auth(…): control characters cannot be sent (RFC 7617 §2)")
    if charset not in ("utf-8", "latin-1"):
        raise ValueError(f'http_auth({charset=}): "utf-8" or "latin-1"')
    try:
        raw = normalize("NFC", text).encode(charset)
    except UnicodeEncodeError:
        raise ValueError(f"http_auth(…): the user or the password cannot be written in {charset}") from None
    return f"Basic {b64encode(raw).decode('ascii')}"


def _finder(fields: Mapping[str, str]) -> Callable[[str], str | None]:
    """A function from a host name to the field that belongs to it."""
    rules = [(name, domain_test(name), value) for name, value in fields.items() if name != "any"]
    rules.sort(key=lambda rule: len(rule[0].strip(".")), reverse=True)
    otherwise = fields.get("any")

    def find(hostname: str) -> str | None:
        return next((value for _, within, value in rules if within(hostname)), otherwise)

    return find


def _sending(run: Run, find: Callable[[str], str | None], insecure: bool) -> Callable[[Request], Request]:
    known: dict[str, str | None] = {}
    """By Host; "" where it is withheld. Requests for a host come one after the other, so this is looked up and not
    worked out."""

    def field_for(host: str) -> str | None:
        name = hostname_of(host)
        value = find(name) if scheme_of(host) in WEB_SCHEMES else None
        if value is not None and host.startswith("http:") and not (insecure or is_loopback(name)):
            value = ""
            if run.events.wants(Notice):
                text = f"http_auth: nothing is sent to {host}, which is not https; insecure=True sends it"
                run.events.emit(Notice(text=text, level="warning"))
        if len(known) >= HOSTS:
            known.clear()
        known[host] = value
        return value

    # Requests come with the same few Headers objects, which are immutable: the last answer often serves again.
    seen, sent, filled = NO_HEADERS, "", NO_HEADERS

    def down(request: Request) -> Request:
        nonlocal seen, sent, filled
        host = host_of(request.url)
        value = known[host] if host in known else field_for(host)
        if value is None or ("@" in request.url and _has_credentials(request.url)):
            return request
        headers = request.headers
        if not value:
            if "authorization" not in headers:
                count(run.stats, "http_auth/withheld")
            return request
        if headers is not seen or value != sent:
            seen, sent = headers, value
            filled = headers if "authorization" in headers else headers.add("Authorization", value)
        return request if filled is headers else request.replace(headers=filled)

    return down


def _has_credentials(url: str) -> bool:
    """Whether they stand in the URL itself: `fetch` sends those."""
    return "@" in url.partition("://")[2].replace("?", "/").replace("#", "/").partition("/")[0]
