"""Which URIs mean a file of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def local_path(uri: str | os.PathLike[str]) -> Path | None:
    """The path that a path or `file:` URI means; None if it is a URI of another scheme.

    `file:///absolute`, `file:./relative` and `file:relative` are taken, with percent-encoding; `~` is the home folder.

    Raises: ValueError for an empty path, or a `file:` URI of another machine.
    Source: RFC 8089 §2; relative ones are this project's addition.
    """
    text = os.fspath(uri)
    if not text:
        raise ValueError("a path is needed, not ''")
    if text[:5].lower() == "file:":
        text = _from_uri(text)
    elif _SCHEME.match(text):
        return None
    return Path(text).expanduser()


def _from_uri(uri: str) -> str:
    rest = uri[5:]
    if not rest.startswith("//"):
        path = unquote(rest)
    else:
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"{uri!r} names a file of the machine {parts.netloc!r}; write file:./path or file:///path")
        path = url2pathname(parts.path)
    if not path:
        raise ValueError(f"{uri!r} names no path")
    return path
