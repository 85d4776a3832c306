"""The layer that says through which proxy a request goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, cast

from streamcrawl.core import Request, Run
from streamcrawl.errors import FlowError
from streamcrawl.events import Notice
from streamcrawl.mistakes import shortened
from streamcrawl.proxies import Rotating, Rotation, rotation, sent_through
from streamcrawl.proxy_urls import NoProxy, environment_proxies, in_encoding, proxy_address
from streamcrawl.streams.counting import count
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.urls import scheme_of

Choice: TypeAlias = Callable[[Request], str | None]
"""A proxy's URL for a request; None or "": none."""
SCHEMES = ("http", "https", "all")


def proxy(
    via: str | Mapping[str, str] | Choice | Rotation | Iterable[str] | None = None,
    *,
    no_proxy: str | Iterable[str] | None = None,
    encoding: str = "utf-8",
) -> NamedLayer:
    """Send requests through proxies.

    `Request(proxy=…)` wins, whatever else is said: a URL, or "" for none. A hop, a retry and a link are made from the
    request as it was leased, so each of them has its proxy chosen anew, and no credentials travel with it.

    Args:
        via: A proxy's URL, credentials included; one for each scheme ("http", "https", "all"); a function of the
            request that gives one or None; several, or a `rotation(…)`, that take turns; None: what `http_proxy`,
            `https_proxy`, `all_proxy` and `no_proxy` in the environment say when the run starts.
        no_proxy: Hosts, domains and networks that are asked directly; None: as the environment has it if `via` is
            None, else none.
        encoding: How credentials are sent that are not ASCII.

    Emits: the same requests with `proxy` set; with a rotation also `Again` while no proxy works, and `Failed` with
        ProxyError for a ban, or when none has worked for too long. One in, one out.
    Raises: ValueError for a URL that names no proxy, an entry of `no_proxy` or an encoding that is none, when built;
        FlowError for a variable of the environment, when the run starts.
    Source: RFC 9110 §7.3.2 (proxies), §9.3.6 (CONNECT), §11.7 (Proxy-Authorization). The variables: common use.
    """
    try:
        "".encode(encoding)
    except LookupError:
        raise ValueError(f"proxy(encoding={encoding!r}): there is no such encoding") from None
    bypass = NoProxy(() if no_proxy is None else no_proxy)
    if bypass.odd:
        raise ValueError(f"proxy(no_proxy={bypass.odd[0]!r}): a host, .domain, network, any of them with a port, or *")
    chosen = _checked(via, encoding)

    def make(run: Run) -> Hooks:
        if isinstance(chosen, Rotation):
            rotating = Rotating(run, chosen, bypass, encoding)
            return Hooks(rotating.down, rotating.up)
        if chosen is not None:
            return _choosing(run, chosen, bypass, encoding)
        return _from_environment(run, None if no_proxy is None else bypass, encoding)

    return layer("proxy", make)


def _checked(
    via: str | Mapping[str, str] | Choice | Rotation | Iterable[str] | None, encoding: str
) -> Choice | Rotation | None:
    chosen: Choice | Rotation | None
    if via is None or isinstance(via, Rotation):
        chosen = via
    elif isinstance(via, str):
        chosen = _by_scheme({"all": via}, encoding)
    elif isinstance(via, Mapping):
        chosen = _by_scheme(cast("Mapping[str, str]", via), encoding)
    elif callable(via):
        chosen = via
    else:
        chosen = rotation(via)
    if isinstance(chosen, Rotation):
        for url in chosen.urls:
            in_encoding(url, encoding)
    return chosen


def _by_scheme(proxies: Mapping[str, str], encoding: str) -> Choice:
    """Raises: ValueError for a URL that is none, or an unknown scheme."""
    odd = sorted(set(proxies) - set(SCHEMES))
    if odd:
        raise ValueError(f"proxy(…): {odd[0]!r} is not one of {', '.join(SCHEMES)}")
    for url in proxies.values():
        proxy_address(url)
        proxy_address(in_encoding(url, encoding))
    by_scheme = {scheme: proxies.get(scheme, proxies.get("all")) for scheme in ("http", "https")}
    return lambda request: by_scheme.get(scheme_of(request.url))


def _from_environment(run: Run, bypass: NoProxy | None, encoding: str) -> Hooks:
    try:
        found, entries = environment_proxies(os.environ)
        choice = _by_scheme(found, encoding)
    except ValueError as error:
        raise FlowError(str(error)) from error
    if bypass is None:
        bypass = NoProxy(entries)
        if found and bypass.odd and run.events.wants(Notice):
            run.events.emit(Notice(text=f"no_proxy: {', '.join(bypass.odd)} is not understood", level="warning"))
    # Nothing in the environment: the layer costs nothing.
    return _choosing(run, choice, bypass, encoding) if found or encoding != "utf-8" else Hooks()


def _choosing(run: Run, choice: Choice, bypass: NoProxy, encoding: str) -> Hooks:
    def down(request: Request) -> Request:
        url = request.proxy
        if url is None:
            if not request.url.startswith("http") or bypass(request.url):
                return request
            url = choice(request)
            if not url:
                return request
            if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
                raise TypeError(
                    f"proxy(via=…): the function gave {shortened(url, 80)}; a proxy's URL or None is needed"
                )
            proxy_address(url)
            count(run.stats, "proxy/request_count")
            return sent_through(request, in_encoding(url, encoding))
        return request.replace(proxy=in_encoding(url, encoding)) if "@" in url else request

    return Hooks(down)
