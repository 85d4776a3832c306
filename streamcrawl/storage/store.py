"""Where files that a crawl fetches go: the small protocol of a store, and what opens one by its URI."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from streamcrawl.errors import SinkError
from streamcrawl.storage.objects import shown
from streamcrawl.storage.paths import local_path

if TYPE_CHECKING:
    from streamcrawl.storage.threaded import Blocking, Threaded

CACHE_CONTROL: Mapping[str, str] = {"Cache-Control": "max-age=172800"}
"""What object stores tell browsers of a file, unless something else is said: two days, as Scrapy has it."""


class StoreError(SinkError):
    """A file that could not be stored, read or deleted.

    Args:
        text: One line that names the store, the file and the reason.
        single: Whether it is the fault of this one file (a name that is too long, for example), not of the store.
    """

    def __init__(self, text: str, *, single: bool = False) -> None:
        super().__init__(text)
        self.single = single


@dataclass(frozen=True, slots=True)
class Meta:
    """What is told of a file beside its bytes, where a store keeps such things.

    Args:
        content_type: Such as "image/jpeg"; "": by the name.
        fields: Kept with the file: names and values in ASCII. Object stores do.
    """

    content_type: str = ""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Stat:
    """A file that is there.

    Args:
        modified: Seconds since the epoch.
        size: In bytes.
        checksum: In hexadecimal; None if none was asked for, or the store cannot tell without sending the whole file.
        fields: Those of `Meta`, where the store keeps them.
    """

    modified: float
    size: int
    checksum: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict[str, str])


Chunks: TypeAlias = "bytes | bytearray | AsyncIterable[bytes]"


class Store(Protocol):
    """Files by path, "/" between folders. All methods raise StoreError."""

    async def put(self, path: str, data: Chunks, meta: Meta = ...) -> None:
        """Store a file in the place of what is there. Readers see the old one or the new one, never a part of it.

        If `data` raises, what was stored of it is thrown away, and the error is raised.
        """
        ...

    async def stat(self, path: str, digest: str = "") -> Stat | None:
        """What is there, or None. `digest`: a name of hashlib's, for the checksum."""
        ...

    async def read(self, path: str) -> bytes:
        """The whole file."""
        ...

    async def delete(self, path: str) -> bool:
        """Delete it; False if it is not there."""
        ...

    async def list(self, folder: str = "") -> dict[str, Stat]:
        """All files in a folder and below, by path."""
        ...

    def url(self, path: str) -> str:
        """Where people find the file, if they may see it."""
        ...

    async def close(self) -> None: ...


class StoreMaker(Protocol):
    """The description of a store, opened for each run."""

    def open(self) -> Store:
        """Open it, and see that it takes files, as far as that can be seen. Raises: SinkError."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A store's description: a folder, or what its scheme names.

    Args:
        uri: A path or `file:` URI of a folder, or a URI of `SCHEMES` or of fsspec's ("s3://bucket/prefix").
        storage: What the scheme's file system takes ("endpoint_url", "key", "token", "username", …).
        acl: A canned ACL for every file on S3 ("public-read") and GCS ("publicRead"); None: as the bucket has it.
        headers: Header fields for every file on S3 and GCS, such as Cache-Control.

    Raises: ValueError for an empty URI, or for an ACL on a store that has none, when built.
    """

    uri: str
    storage: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    acl: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: CACHE_CONTROL)

    def __post_init__(self) -> None:
        if not self.uri:
            raise ValueError("store='': the folder or URI that files go to")
        scheme = self.scheme
        if self.acl is not None and scheme not in WITH_ACL:
            raise ValueError(f"acl={self.acl!r}: stores of {scheme}: have none; those of {', '.join(WITH_ACL)} do")

    @property
    def scheme(self) -> str:
        """In lower case; "file" for a path."""
        return "file" if local_path(self.uri) is not None else self.uri.partition(":")[0].lower()

    @property
    def name(self) -> str:
        """The URI without its credentials."""
        return shown(self.uri)

    def open(self) -> Store:
        """Open it, and see that it takes files. Raises: SinkError naming the store and the reason."""
        store = self._opened()
        store.check()
        return store

    def look(self) -> Store:
        """Open it to read from it: nothing is asked of it yet, nothing is made. Raises: SinkError."""
        return self._opened()

    def _opened(self) -> Threaded:
        from streamcrawl.storage.threaded import Threaded

        opener = SCHEMES.get(self.scheme, SCHEMES["*"])
        try:
            files = opener(self)
        except StoreError:
            raise
        except Exception as error:  # each of fsspec's file systems has its own
            raise StoreError(f"store {self.name}: {reason(error)}") from error
        return Threaded(self.name, files)


Opener: TypeAlias = "Callable[[Place], Blocking]"


def _lazily(module: str, name: str) -> Opener:
    def open_files(place: Place) -> Blocking:
        opener: Opener = getattr(import_module(f"streamcrawl.storage.{module}"), name)
        return opener(place)

    return open_files


SCHEMES: dict[str, Opener] = {
    "*": _lazily("remote", "Remote"),
    "abfs": _lazily("azure", "Azure"),
    "abfss": _lazily("azure", "Azure"),
    "az": _lazily("azure", "Azure"),
    "file": _lazily("folder", "folder_of"),
    "ftp": _lazily("ftp_store", "FtpStore"),
    "ftps": _lazily("ftp_store", "FtpStore"),
    "gcs": _lazily("gcs", "Gcs"),
    "gs": _lazily("gcs", "Gcs"),
    "s3": _lazily("s3", "S3"),
    "s3a": _lazily("s3", "S3"),
}
"""What opens a store of a scheme; "*": of those that are not here. Add one of your own."""

WITH_ACL = ("gcs", "gs", "s3", "s3a")


def place_of(
    store: str | os.PathLike[str] | StoreMaker,
    storage: Mapping[str, Any] | None,
    acl: str | None,
    headers: Mapping[str, str] | None,
) -> StoreMaker:
    """The description that the arguments of an operator mean.

    Raises: ValueError, also if `store` is a description already and something is said of it here too.
    """
    if isinstance(store, (str, os.PathLike)):
        told = CACHE_CONTROL if headers is None else dict(headers)
        for name, value in told.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not value.isascii() or not value.isprintable():
                raise ValueError(f"headers={{{name!r}: {value!r}}}: names and values of header fields, in ASCII")
        return Place(os.fspath(store), dict(storage or {}), acl, told)
    if storage is not None or acl is not None or headers is not None:
        raise ValueError("storage, acl and headers belong to a store that is given by its URI")
    return store


def reason(error: BaseException) -> str:
    """Why, on one line of at most 300 characters."""
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = " ".join(str(why).split())
    return text if len(text) <= 300 else f"{text[:297]}..."
