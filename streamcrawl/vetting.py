"""Requests as people write them: what is meant is made of them, and what cannot be meant is told at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from operator import itemgetter
from typing import Any, Literal, cast

import msgspec

from streamcrawl.arguments import Kind, kind_of
from streamcrawl.core import CacheMode, Request
from streamcrawl.headers import Headers
from streamcrawl.mistakes import shortened

MOVED = {
    "allow_offsite": 'Request(skip=("scope",))',
    "bindaddress": "Wire(transport=…)",
    "cookiejar": "Request(cookiejar=…)",
    "dont_cache": 'Request(cache="no-store")',
    "dont_merge_cookies": 'Request(skip=("cookies",))',
    "dont_obey_robotstxt": 'Request(skip=("robots_txt",))',
    "dont_redirect": "Request(max_redirects=0)",
    "dont_retry": "Request(max_retries=0)",
    "download_maxsize": "Request(max_size=…)",
    "download_slot": "Request(slot=…)",
    "download_timeout": "Request(timeout=…)",
    "give_up_log_level": "ops.retry(give_up_level=…)",
    "handle_httpstatus_all": 'Request(statuses="any")',
    "handle_httpstatus_list": "Request(statuses=…)",
    "http_auth_domain": "ops.http_auth(…)",
    "http_pass": "ops.http_auth(…)",
    "http_user": "ops.http_auth(…)",
    "max_retry_times": "Request(max_retries=…)",
    "priority_adjust": "ops.retry(priority=…)",
    "proxy": "Request(proxy=…)",
    "referrer_policy": "Request(referrer_policy=…)",
}
"""What Scrapy reads in `meta`, and what it is called here."""


_RARE: tuple[tuple[str, Any], ...] = (
    ("cb_kwargs", Mapping[str, Any]),
    ("meta", dict),
    ("priority", float),
    ("slot", str | None),
    ("not_before", float),
    ("dont_filter", bool),
    ("keep_fragments", bool),
    ("fingerprint_headers", tuple[str, ...]),
    ("timeout", float | None),
    ("max_size", int | None),
    ("stream", bool),
    ("statuses", Collection[int] | Literal["any"]),
    ("cookiejar", str | None),
    ("cache", CacheMode),
    ("proxy", str | None),
    ("reach", tuple[str, ...] | None),
    ("max_retries", int | None),
    ("max_redirects", int | None),
    ("skip", tuple[str, ...]),
    ("referrer_policy", str | None),
)
"""Fields that most requests do not have, and what they may be. The layer `cookies` looks at the cookies."""

_rare = itemgetter(*(Request.__struct_fields__.index(name) for name, _ in _RARE))
_DEFAULTS = _rare(msgspec.structs.astuple(Request("")))
_KINDS = tuple((name, cast("Kind", kind_of(hint)), hint) for name, hint in _RARE)
_NOT_NEGATIVE = frozenset({"max_redirects", "max_retries", "max_size"})
_SEQUENCES = (tuple[str, ...], tuple[str, ...] | None)


def vetted(request: Request) -> Request:
    """The request, with a dict as its headers, text as its body and the like made into what they are to be.

    Raises: TypeError naming the field for what makes no sense.
    """
    rare = _rare(msgspec.structs.astuple(request))
    changes = {} if rare == _DEFAULTS else dict(_changed(rare))
    return _said_right(request.replace(**changes) if changes else request)


def _changed(rare: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """What is meant where a list was given for a tuple, or a number for the name of a jar. Raises: TypeError."""
    for value, default, (name, kind, hint) in zip(rare, _DEFAULTS, _KINDS, strict=True):
        if value is default or (value.__class__ is dict and default == {}):
            continue
        if kind.fits(value):
            if name == "timeout" and value is not None and value <= 0:
                raise TypeError(f"timeout={value!r}: seconds above 0 are needed")
            if name in _NOT_NEGATIVE and value is not None and value < 0:
                raise TypeError(f"{name}={value!r}: 0 or more is needed")
            continue
        if value is None:
            yield name, default
            continue
        if name == "meta" and isinstance(value, Mapping):
            yield name, dict(cast("Mapping[str, Any]", value))
            continue
        if name in ("cookiejar", "slot") and isinstance(value, int):  # as Scrapy's people number them
            yield name, str(value)
            continue
        if hint in _SEQUENCES and isinstance(value, list | set | frozenset):
            given = tuple(cast("list[Any]", value))
            if kind.fits(given):
                yield name, given
                continue
        such = f", such as ({value!r},)" if hint in _SEQUENCES and isinstance(value, str) else ""
        raise TypeError(f"{name}={shortened(cast('object', value), 80)}: {kind.words} is needed{such}")


def _said_right(request: Request) -> Request:
    """What stands in most requests. Raises: TypeError."""
    method: Any = request.method
    told = isinstance(method, str)
    plain = told and method.isupper() and type(request.headers) is Headers and type(request.body) is bytes
    if (
        plain
        and (request.callback is None or callable(request.callback))
        and (request.errback is None or callable(request.errback))
    ):
        return request
    if not told:
        raise TypeError(f"method={method!r}: text, such as 'GET'")
    changes: dict[str, Any] = {}
    headers: Any = request.headers
    if isinstance(headers, dict):
        changes["headers"] = Headers(request.headers)
    elif not isinstance(headers, Headers):
        raise TypeError(f"headers={headers!r}: a dict, or Headers")
    body: Any = request.body
    if isinstance(body, str):
        changes["body"] = body.encode()
    elif not isinstance(body, bytes | bytearray):
        raise TypeError(f"body={body!r}: bytes or text")
    if not method.isupper():
        changes["method"] = method.upper()
    for name in ("callback", "errback"):
        function = getattr(request, name)
        if function is not None and not callable(function):
            raise TypeError(f"{name}={function!r}: a function, such as self.parse_item")
    return request.replace(**changes)


def wanted_statuses(spider: Any) -> Collection[int] | Literal["any"]:
    """Statuses outside 200-299 that a spider says its callbacks want."""
    if getattr(spider, "handle_httpstatus_all", False):
        return "any"
    return getattr(spider, "handle_httpstatus_list", None) or ()


def moved_keys(request: Request) -> list[str]:
    """Keys of `meta` that do something in Scrapy, and nothing here."""
    return [key for key in request.meta if key in MOVED]
