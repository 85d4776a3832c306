"""The layers of a polite crawler."""

from __future__ import annotations

from collections.abc import Callable

from streamcrawl.core import Layer
from streamcrawl.operators.conditional import conditional
from streamcrawl.operators.cookies import cookies
from streamcrawl.operators.default_headers import default_headers
from streamcrawl.operators.download_stats import download_stats
from streamcrawl.operators.meta_refresh import meta_refresh
from streamcrawl.operators.proxy import proxy
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.retry import retry
from streamcrawl.operators.robots_txt import robots_txt

_ORDER: dict[str, Callable[[], Layer] | None] = {
    "scope": None,
    "guard": None,
    "user_agent": None,
    "robots_txt": robots_txt,
    "http_auth": None,
    "default_headers": default_headers,
    "timeout": None,
    "size_limit": None,
    "conditional": conditional,
    "retry": retry,
    "ajax_crawl": None,
    "meta_refresh": meta_refresh,
    "redirect": redirect,
    "cookies": cookies,
    "http_cache": None,
    "proxy": proxy,
    "throttle": None,
    "decompress": None,
    "download_stats": download_stats,
}
"""The outermost first. None: its place is kept; what it does by default belongs to `fetch` or to `Crawl(scope=…)`."""


def where_it_goes(name: str) -> str:
    """How a layer of this name is put into a crawl: for those who put it somewhere else."""
    layers = f"*ops.default_layers({name}=ops.{name}(…))" if name in _ORDER else f"*ops.default_layers(), {name}"
    return f"{name} is a layer of download: write ops.download({layers})"


def default_layers(**changes: Layer | None) -> tuple[Layer, ...]:
    """The layers that `download()` has, with some of them changed or removed by name.

    robots_txt, default_headers, conditional, retry, meta_refresh, redirect, cookies, proxy, download_stats; and places
    for the others, which are empty unless filled: scope, guard, user_agent, timeout, size_limit and decompress because
    `fetch` and the crawl do their work by default, http_auth, ajax_crawl, http_cache and throttle because not every
    crawl wants them.

    Args:
        changes: A layer to stand in the place of that name, or None to leave it out.

    Raises: ValueError for a name that is no place; TypeError for what is no layer.
    """
    unknown = sorted(set(changes) - set(_ORDER))
    if unknown:
        raise ValueError(f"no default layer is called {unknown[0]!r}; the names are {', '.join(_ORDER)}")
    for name, layer in changes.items():
        if layer is not None and not callable(layer):  # pyright: ignore[reportUnnecessaryComparison] - users err
            raise TypeError(f"default_layers({name}={layer!r}): a layer, such as ops.{name}(…), or None for none")
    layers: list[Layer] = []
    for name, make in _ORDER.items():
        layer = changes[name] if name in changes else make() if make is not None else None
        if layer is not None:
            layers.append(layer)
    return tuple(layers)
