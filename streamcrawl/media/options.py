"""What `files` and `images` have in common, as data; and the words of their reports."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, TypeAlias

from streamcrawl.core import Item, Request
from streamcrawl.errors import Drop, FetchError, InvalidURL
from streamcrawl.referrer import POLICIES
from streamcrawl.response import Response
from streamcrawl.storage.store import StoreMaker, reason

Report: TypeAlias = dict[str, Any]
"""url and status; path and checksum where it is stored, error where it is not."""

FilePath: TypeAlias = Callable[[Request, "Response | None", Item], "str | None"]
"""(request, response, item) -> path in the store. It is asked without a response first, to see whether the file is
there already: None then says that the response decides, and the file is fetched each time."""

GetMediaRequests: TypeAlias = Callable[[Item], "Iterable[Request | str]"]
"""item -> what to fetch for it, instead of the URLs of its field."""

MediaDownloaded: TypeAlias = "Callable[[Response, Item], Awaitable[Response | None] | Response | None]"
"""(response, item) -> the response to store instead, or None for the same. What it raises is why the file failed."""

ItemCompleted: TypeAlias = "Callable[[list[Report], Item], Item | Awaitable[Item]]"
"""(reports, item) -> the item that goes on, instead of one with the reports in its result field. May raise Drop."""

Failures: TypeAlias = Literal["report", "omit"]


class Unusable(Exception):
    """This file cannot be had or stored, for this reason."""


class Broken(Unusable):
    """It broke off in the middle: it may come whole another time."""


@dataclass(frozen=True, slots=True)
class Common:
    """The arguments of `files` and `images` that mean the same in both; see there."""

    store: StoreMaker
    urls_field: str
    result_field: str
    expires: float | None
    failures: Failures
    digest: str
    redirects: bool
    referer: str
    skip: tuple[str, ...]
    max_size: int | None
    index: bool
    file_path: FilePath | None
    get_media_requests: GetMediaRequests | None
    media_downloaded: MediaDownloaded | None
    item_completed: ItemCompleted | None

    def __post_init__(self) -> None:
        if not self.urls_field or not self.result_field:
            raise ValueError(f"urls_field={self.urls_field!r}, result_field={self.result_field!r}: names of fields")
        if self.expires is not None and not (self.expires >= 0 and isfinite(self.expires)):
            raise ValueError(f"expires={self.expires!r}: days, 0 or more; None: never")
        if self.failures not in ("report", "omit"):
            raise ValueError(f'failures={self.failures!r}: "report" or "omit"')
        if self.referer not in POLICIES:
            raise ValueError(f"referer={self.referer!r}: one of {', '.join(name for name in POLICIES if name)}")
        if self.max_size is not None and self.max_size < 1:
            raise ValueError(f"max_size={self.max_size!r}: 1 byte or more")
        _check_digest(self.digest)


def _check_digest(digest: str) -> None:
    try:
        size = hashlib.new(digest, usedforsecurity=False).digest_size
    except ValueError:
        size = 0
    if not size:  # SHAKE has none of its own
        known = ", ".join(sorted(hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}))
        raise ValueError(f"digest={digest!r}: one of {known}")


def named(hook: FilePath, request: Request, response: Response | None, item: Item) -> str | None:
    """The path that a user's function gives. Raises: Unusable."""
    try:
        path = hook(request, response, item)
    except Exception as error:
        raise Unusable(f"file_path: {told(error)}") from error
    if path is not None and not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
        raise Unusable(f"file_path gave {path!r}: a path is needed")
    return path


def told(error: Exception) -> str:
    """What a report says of an error."""
    if isinstance(error, (Drop, InvalidURL, Unusable, FetchError)):
        return reason(error)
    return f"{type(error).__name__}: {reason(error)}"


def title(url: str) -> str:
    """The name that a file has in the store, but for its extension: the SHA-1 of its URL."""
    return hashlib.sha1(url.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
