"""Pages that a job fetched before are asked for only if they have changed."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from email.utils import parsedate_tz

from streamcrawl.core import Dropped, Lease, Outcome, Request, Run, Visit
from streamcrawl.headers import Headers
from streamcrawl.response import BodyStream, Response, body_digest
from streamcrawl.streams.layer import Hooks, NamedLayer, layer

OWN = ("If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range")
"""A request that carries one of these asks for something by itself."""

_TAG = re.compile(r'(?:[Ww]/)?"[\x20\x21\x23-\x7e\x80-\xff]*"|(?!\*$)[\x21\x23-\x2b\x2d-\x7e\x80-\xff]+')
"""An entity-tag, or what servers write that forget the quotes. "*" alone would ask for any page at all."""


def conditional() -> NamedLayer:
    """Ask only for what has changed since the previous crawl of the job.

    It acts where that crawl had brought something (`lease.visit`), which it does in a recrawl only; everything else
    passes. A GET or HEAD goes out with If-None-Match and If-Modified-Since, made of the ETag and the Last-Modified that
    came last time, unless it has a condition of its own. A server that knows neither sends the page: its body is
    compared with what it was.

    Its place is above `retry`, `redirect`, `cookies` and `decompress`: a page that they send again is not compared, a
    cookie that a 304 sets is kept, and the body is compared as the callback would see it.

    Emits: `Dropped` ("not modified") for a 304 to a condition set here, `Dropped` ("unchanged") for a 200 whose body is
        what it was, else what comes from below. One in, one out.
    Source: RFC 9110 §8.8.2, §8.8.3 (validators), §13.1.2 (If-None-Match), §13.1.3 (If-Modified-Since), §15.4.5 (304).
    """
    return layer("conditional", _make)


def _make(run: Run) -> Hooks:
    asked: set[Lease] = set()
    """Whose requests are under way with a condition that was set here."""

    def down(request: Request) -> Request:
        lease = request.lease
        if lease is None or lease.visit is None or request.method not in ("GET", "HEAD"):
            return request
        headers = conditions(request.headers, lease.visit)
        if headers is request.headers:
            return request
        asked.add(lease)
        return request.replace(headers=headers)

    def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        lease = outcome.request.lease
        if lease is None or lease.visit is None:
            return outcome
        ours = lease in asked
        asked.discard(lease)
        if not isinstance(outcome, Response):
            return outcome
        if outcome.status == 304 and ours:
            dropped = Dropped(outcome.request, "not modified")
            return dropped if outcome.stream is None else _closed(outcome.stream, dropped)
        return Dropped(outcome.request, "unchanged") if _is_the_same(outcome, lease.visit) else outcome

    return Hooks(down, up)


def conditions(headers: Headers, visit: Visit) -> Headers:
    """`headers` with the conditions that can be made of a visit; themselves if there are none, or some already.

    Source: RFC 9110 §13.1.2, §13.1.3. Values are sent as they came: servers compare them as text.
    """
    if any(name in headers for name in OWN):
        return headers
    tag, date = (visit.etag or "").strip(" \t"), (visit.modified or "").strip(" \t")
    if _TAG.fullmatch(tag):
        headers = headers.add("If-None-Match", tag)
    if date.isascii() and date.isprintable() and parsedate_tz(date) is not None:
        headers = headers.add("If-Modified-Since", date)
    return headers


def _is_the_same(response: Response, visit: Visit) -> bool:
    # The answer to a HEAD has no body that says anything; that of a streamed page is not here yet.
    if response.status != 200 or not visit.digest or response.stream is not None or response.request.method == "HEAD":
        return False
    return body_digest(response.body) == visit.digest


async def _closed(stream: BodyStream, dropped: Dropped) -> Dropped:
    await stream.aclose()  # it holds a place
    return dropped
