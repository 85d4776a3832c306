"""Answer from what was stored, as far as it may be used."""

from __future__ import annotations

from collections.abc import Collection

from streamcrawl.caching.exchange import Exchange, Limits
from streamcrawl.caching.policy import CachePolicy
from streamcrawl.caching.rfc9111 import Rfc9111
from streamcrawl.caching.sqlite_store import sqlite_store
from streamcrawl.caching.store import CacheStore
from streamcrawl.core import Run
from streamcrawl.streams.layer import Hooks, NamedLayer, layer


def http_cache(
    *,
    policy: CachePolicy | None = None,
    store: CacheStore | None = None,
    expires_after: float | None = None,
    ignore_schemes: Collection[str] = ("file", "data"),
    ignore_statuses: Collection[int] = (),
    ignore_missing: bool = False,
    max_size: int = 32 * 1024 * 1024,
) -> NamedLayer:
    """Answer from what was stored, as far as it may be used, and store what comes.

    A response from the store has the flag "cached" (and "stale", if it is; "errorrecovery", if it stands in for a
    server that failed); it takes no place on the wire, and none of the layers below sees it. A stored response that is
    no longer fresh is asked about with its ETag and Last-Modified: a 304 renews it ("revalidated").
    `Request(cache=…)` says for one request what is wanted of the cache. A repeat is not answered from the store, and
    nobody gets from it what he may not reach himself.

    A streamed body is stored when it has been read to its end. A store that fails costs no page: it counts as empty.

    Args:
        policy: What is stored and given out: `Rfc9111()`, a private HTTP cache, which is what None means; `Replay()`,
            everything for ever; or your own.
        store: Where responses are kept: `sqlite_store("httpcache.sqlite")` if None.
        expires_after: Seconds after which a stored response counts as absent, whatever the policy says. None: never.
        ignore_schemes: Schemes of URLs that the cache leaves alone.
        ignore_statuses: Statuses of responses that are not stored.
        ignore_missing: Requests that nothing stored fits are dropped, not sent: a crawl of the cache alone.
        max_size: Bytes of a body; a longer one is not stored.

    Emits: stored responses, `Dropped` ("not in the cache"), a 504 if the request says only-if-cached, and what comes
        from below. One in, one out.
    Raises: ValueError for an argument out of its bounds, when built; what `store.open` raises, when subscribed.
    Source: RFC 9111; Fetch §2.2.5 (cache modes).
    """
    if expires_after is not None and not expires_after > 0:
        raise ValueError(f"http_cache(expires_after={expires_after!r}): seconds above 0, or None")
    if max_size < 1:
        raise ValueError(f"http_cache(max_size={max_size!r}): bytes, 1 or more")
    if isinstance(ignore_schemes, str):
        raise ValueError(f"http_cache(ignore_schemes={ignore_schemes!r}): several names, not one")
    wrong = [status for status in ignore_statuses if not 100 <= status <= 999]
    if wrong:
        raise ValueError(f"http_cache(ignore_statuses={wrong!r}): statuses, 100 to 999")
    schemes = frozenset(scheme.lower() for scheme in ignore_schemes)
    limits = Limits(expires_after, max_size, ignore_missing, schemes, frozenset(ignore_statuses))
    chosen = Rfc9111() if policy is None else policy
    kept = sqlite_store() if store is None else store

    def make(run: Run) -> Hooks:
        opened = kept.open(run)
        run.closing(opened.close)
        exchange = Exchange(run, chosen, opened, limits)
        return Hooks(exchange.down, exchange.up)

    return layer("http_cache", make)
