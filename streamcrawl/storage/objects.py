"""Whole files put to a URI of fsspec's: an object store, a server, a folder. Readers never see a part of one."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from streamcrawl.errors import SinkError
from streamcrawl.storage.paths import local_path

WHOLE = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "r2", "s3", "s3a"})
"""Stores that show an object once it is whole; elsewhere it is written under another name first."""

FOR_GOOD = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    ValueError,
    TypeError,
)
"""What trying again does not mend: no such bucket, wrong credentials, a wrong argument."""


class Objects:
    """The files of one sink, by URI. Its methods block: call them in a thread.

    Args:
        options: What fsspec's file system takes ("endpoint_url", "key", "anon", …).

    Raises: SinkError naming the URI and the reason, from every method.
    """

    __slots__ = ("_opened", "_options")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._opened: dict[str, Any] = {}

    def put(self, path: Path, uri: str) -> None:
        """Store the file at `path` as `uri`, instead of what is there."""
        scheme, files, place = self._find(uri)
        try:
            if scheme in WHOLE:
                files.put_file(str(path), place)
            else:
                files.makedirs(files._parent(place), exist_ok=True)
                files.put_file(str(path), f"{place}.part")
                files.mv(f"{place}.part", place)
        except Exception as error:  # each of fsspec's file systems has its own
            raise self._failure(uri, "cannot be written", error) from error

    def remove(self, uri: str) -> bool:
        """Delete it; False if it is not there."""
        _, files, place = self._find(uri)
        try:
            files.invalidate_cache()
            if not files.exists(place):
                return False
            files.rm_file(place)
        except (FileNotFoundError, PermissionError):
            return False  # who may not list may not be told whether it is there
        except Exception as error:
            raise self._failure(uri, "cannot be deleted", error) from error
        return True

    def check(self, uri: str) -> None:
        """See that its bucket is there, as far as that can be seen."""
        scheme, files, place = self._find(uri)
        if scheme not in WHOLE or scheme == "memory":
            return
        try:
            files.ls(place.partition("/")[0], detail=False)
        except Exception as error:
            # Somebody who may write need not be allowed to list.
            if not isinstance(error, PermissionError) or "denied" not in str(error).lower():
                raise self._failure(uri, "cannot be written", error) from error

    def _find(self, uri: str) -> tuple[str, Any, str]:
        path = local_path(uri)
        scheme = "file" if path is not None else uri.partition(":")[0].lower()
        try:
            # fsspec has no annotations.
            from fsspec.core import url_to_fs  # type: ignore[import-untyped] # pyright: ignore

            if scheme not in self._opened:
                self._opened[scheme] = cast("Any", url_to_fs(uri, **self._options))[0]
            files = self._opened[scheme]
            return scheme, files, str(path.absolute()) if path is not None else files._strip_protocol(uri)
        except Exception as error:
            raise self._failure(uri, "cannot be written", error) from error

    @staticmethod
    def _failure(uri: str, what: str, error: Exception) -> SinkError:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ObjectLost(f"{shown(uri)} {what}: {' '.join(str(why).split())}", again=_passes(error))


class ObjectLost(SinkError):
    """A file that could not be stored. `again`: whether it may be, a while later."""

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


def _passes(error: Exception) -> bool:
    """Whether what went wrong may be over in a while: a server that restarts, a net that is down."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return False
    return not isinstance(error, FOR_GOOD)


def shown(uri: str) -> str:
    """The URI without its credentials."""
    scheme, mark, rest = uri.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}"
