"""Requests to Google Cloud Storage, tried again as often as a store is told: gcsfs itself does not let one say."""

from __future__ import annotations

import asyncio
import json
from random import random
from typing import Any, cast

RETRIES = 5
"""Tries after the first, where the server answers that it is busy, or breaks off."""

CONNECT_RETRIES = 2
"""Where nobody takes the connection, or says anything: some four seconds in all, and the timeouts."""

LONGEST = 32.0
"""Seconds between two tries, at most."""

PATIENCE = {"sock_connect": 20, "sock_read": 30}
"""Seconds without a word from the server. gcsfs has none of its own, and its client's are five minutes in all."""


class Calls:
    """What sends the requests of one store.

    Args:
        files: gcsfs's file system: it knows addresses, credentials and errors.
        retries: Tries after the first; 0 or more.
        connect_retries: Likewise, of those that find nobody at the address, or hear nothing.

    Raises: ValueError for a number that is none, when built.
    """

    def __init__(self, files: Any, retries: Any = RETRIES, connect_retries: Any = CONNECT_RETRIES) -> None:
        for name, value in (("retries", retries), ("connect_retries", connect_retries)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"storage={{{name!r}: {value!r}}}: a number of tries after the first, 0 or more")
        self._files = files
        self._retries: int = retries
        self._connect_retries: int = connect_retries

    def __call__(self, method: str, path: str, *parts: str, json_out: bool = False, **options: Any) -> Any:
        """The answer: header fields and body, or what its JSON says. Blocks. Raises: what gcsfs raises."""
        _, headers, _, body = _sync(self._files, self._tried, method, path, *parts, **options)
        return json.loads(body) if json_out else (headers, body)

    def once(self, *request: str) -> None:
        """Send it, and do not repeat it."""
        _sync(self._files, _sent, self._files, *request)

    async def _tried(self, *request: Any, **options: Any) -> Any:
        from gcsfs.retry import is_retriable  # type: ignore[import-untyped] # pyright: ignore

        tries = unheard = 0
        while True:
            try:
                return await _sent(self._files, *request, **options)
            except Exception as error:  # of aiohttp, gcsfs, google-auth or requests
                # A connection that was not made has an `os_error`; what nobody answers in time is a TimeoutError.
                unheard += isinstance(error, TimeoutError) or getattr(error, "os_error", None) is not None
                known = cast("Any", is_retriable)(error)
                if not known or tries >= self._retries or unheard > self._connect_retries:
                    raise
            await asyncio.sleep(min(random() + 2**tries, LONGEST))  # noqa: S311 - so that not all try at once
            tries += 1


def patience() -> Any:
    """How long gcsfs's client waits for a word from the server."""
    from gcsfs import core  # type: ignore[import-untyped] # pyright: ignore

    return cast("Any", core).aiohttp.ClientTimeout(total=None, **PATIENCE)


async def _sent(files: Any, *request: Any, **options: Any) -> Any:
    """gcsfs's request without the repeats that are wrapped around it."""
    repeated: Any = cast("Any", type(files))._request
    return await getattr(repeated, "__wrapped__", repeated)(files, *request, **options)


def _sync(files: Any, work: Any, *arguments: Any, **options: Any) -> Any:
    from fsspec.asyn import sync  # type: ignore[import-untyped] # pyright: ignore
    from fsspec.exceptions import FSTimeoutError  # type: ignore[import-untyped] # pyright: ignore

    try:
        return cast("Any", sync)(files.loop, work, *arguments, **options)
    except FSTimeoutError as error:  # put in the place of one that says what was waited for
        raise error.__cause__ or error from None
