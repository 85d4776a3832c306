"""Which links belong to a crawl: asked once for every new link, so it is made of dictionary look-ups."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from streamcrawl.core import Request
from streamcrawl.errors import InvalidURL
from streamcrawl.urls import WEB_SCHEMES, domain_key, host_of, hostname_of, normalize, site_key

OPEN_SCHEMES = WEB_SCHEMES | {"ftp", "ftps"}
"""Where a page of the web may lead: not to local files, nor to stores that are read with the user's own credentials."""

REMEMBERED = 65_536
"""Verdicts kept at a time, one for each pair of hosts."""


def scope_test(scope: str | Iterable[str] | Callable[[Request], bool]) -> Callable[[Request], bool]:
    """Whether a request (its URL normalized) stays in the scope of the crawl.

    `Request.site` is the Host that the request descends from; a request without one is its own start.
    No scope lets a page of the web lead anywhere but to http, https and ftp: no `file:`, no `s3:`.

    Args:
        scope: "host": the same host; http and https, and a name with and without "www.", are the same.
            "domain": the same registrable domain. "any": anywhere.
            A domain name, or several: these and their subdomains.
            A function: True for a request that belongs to the crawl.

    Raises: ValueError for an unknown word or a bad domain name, when built.
    """
    if callable(scope):
        return _guarded(scope)
    if isinstance(scope, str):
        if scope in _WORDS:
            return _by_host(_WORDS[scope])
        if "." not in scope and scope != "localhost" and ":" not in scope:
            raise ValueError(f'scope {scope!r}: not "host", "domain" or "any", nor a domain name')
        scope = (scope,)
    within = domain_test(scope)
    return _by_host(lambda host, site: within(hostname_of(host)))


def may_lead(site: str, url: str) -> bool:
    """Whether a page that descends from the Host `site` may lead to `url` at all: the web never leads to files."""
    return _may_lead(site, host_of(url))


def domain_test(names: Iterable[str]) -> Callable[[str], bool]:
    """Whether a host name is one of these domains or a subdomain of one.

    Raises: ValueError for a name that is none (a URL, a pattern, nothing at all), when built.
    """
    if isinstance(names, str):
        names = (names,)
    domains = frozenset(_domain(name) for name in names)
    if not domains:
        raise ValueError("no domain names given: nothing would be in scope")

    def within(hostname: str) -> bool:
        name = hostname.removesuffix(".")
        while name not in domains:
            _, dot, name = name.partition(".")
            if not dot:
                return False
        return True

    return within


def _domain(name: str) -> str:
    plain = name.strip().removeprefix(".").removesuffix(".")
    try:
        # The URL parser writes names as they stand in URLs: lower case, punycode, short IPv6.
        url = normalize(f"http://{plain}/")
    except InvalidURL:
        url = ""
    found = hostname_of(url)
    if found and "*" not in found and url == f"http://{found}/":
        return found
    meant = hostname_of(plain) if "://" in plain else _in_brackets(plain)
    raise ValueError(
        f"not a domain name: {name!r} "
        + (f"(write {meant!r})" if meant else "(subdomains are included; no scheme, port, path or pattern)")
    )


def _in_brackets(name: str) -> str:
    """An IPv6 address as it is written in URLs; "" for what is none."""
    try:
        return hostname_of(normalize(f"http://[{name}]/"))
    except InvalidURL:
        return ""


def _by_host(same: Callable[[str, str], bool]) -> Callable[[Request], bool]:
    """A test that depends on nothing but the request's Host and site, each pair judged once."""
    verdicts: dict[tuple[str, str], bool] = {}

    def test(request: Request) -> bool:
        site = request.site
        pair = host_of(request.url), site
        verdict = verdicts.get(pair)
        if verdict is None:
            if len(verdicts) >= REMEMBERED:
                verdicts.clear()
            host = pair[0]
            verdict = verdicts[pair] = _may_lead(site, host) and same(host, site or host)
        return verdict

    return test


def _guarded(wanted: Callable[[Request], bool]) -> Callable[[Request], bool]:
    may_lead = _by_host(lambda host, site: True)
    return lambda request: may_lead(request) and bool(wanted(request))


def _may_lead(site: str, host: str) -> bool:
    return _scheme(site) not in OPEN_SCHEMES or _scheme(host) in OPEN_SCHEMES


def _scheme(host: str) -> str:
    return host.partition(":")[0]


def _same_host(host: str, site: str) -> bool:
    return site_key(host) == site_key(site)


def _same_domain(host: str, site: str) -> bool:
    return domain_key(host) == domain_key(site)


_WORDS: dict[str, Callable[[str, str], bool]] = {
    "any": lambda host, site: True,
    "domain": _same_domain,
    "host": _same_host,
}
