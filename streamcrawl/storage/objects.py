"""Whole files put to a URI of fsspec's: an object store, a server, a folder. Readers never see a part of one."""

from __future__ import annotations

import errno
import ftplib
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from streamcrawl.errors import SinkError
from streamcrawl.storage.paths import local_path

if TYPE_CHECKING:
    from streamcrawl.storage.threaded import Blocking

WHOLE = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "r2", "s3", "s3a"})
"""Stores that show an object once it is whole; elsewhere it is written under another name first."""

BLOCK = 8 * 1024 * 1024
"""Bytes of a growing file that are read and handed on at once."""

PIECES = 10_000
"""Of an object on S3, at most."""

FOR_GOOD = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    TypeError,
    ftplib.error_perm,
)
"""What trying again does not mend: no such bucket, wrong credentials, a wrong argument.

Not ValueError: sshfs raises one where a connection is lost."""

EXTRAS = {"sftp": "sftp", "ssh": "sftp", "abfs": "azure", "abfss": "azure", "az": "azure", "adl": "azure"}
"""What has to be installed for a scheme: `pip install streamcrawl[…]`."""


class Storage(Protocol):
    """Where the whole files of a sink go, by URI. Its methods block, and are called in threads but for `check`.

    Raises: SinkError (`ObjectLost`, if it is worth trying again) from every method but `close`.
    """

    def check(self, uri: str) -> None:
        """See, before the first request, that it can be written to, as far as that can be seen."""
        ...

    def put(self, path: Path, uri: str) -> None:
        """Store the file at `path` as `uri`, instead of what is there; readers see the old or the new."""
        ...

    def remove(self, uri: str) -> bool:
        """Delete it; False if it is not there."""
        ...

    def upload(self, uri: str) -> Upload | None:
        """Begin an object that comes in pieces; None: it takes whole files only."""
        ...

    def close(self) -> None:
        """Nothing more comes in this run."""
        ...


class Upload(Protocol):
    """An object on its way: nobody sees it before `commit`."""

    def write(self, data: bytes) -> None: ...
    def commit(self) -> None: ...
    def abandon(self) -> None:
        """Nothing stays of it, as far as the store can be reached. Raises nothing."""
        ...


class Objects:
    """The files of one sink, by URI, in the stores of `streamcrawl.storage.store`. Its methods block.

    Args:
        options: What the store takes ("endpoint_url", "key", "username", …), and "acl" for S3 and GCS.

    Raises: SinkError naming the URI and the reason, from every method.
    """

    __slots__ = ("_acl", "_options", "_stores")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._acl: str | None = self._options.pop("acl", None)
        self._stores: dict[str, Blocking] = {}

    def check(self, uri: str) -> None:
        """See that its bucket is there and takes the credentials, as far as that can be seen."""
        if local_path(uri) is None:
            with self._told(uri):
                self._find(uri)[0].check()

    def put(self, path: Path, uri: str) -> None:
        """Store the file at `path` as `uri`, instead of what is there."""
        with self._told(uri):
            here = local_path(uri)
            if here is not None:
                _put_here(path, here)
                return
            store, name = self._find(uri)
            if path.stat().st_size <= store.part:
                store.put(name, path.read_bytes(), _meta())
            else:
                _forget_uploads(uri, self._options)
                self._send(path, store.begin(name, _meta()), store.part)

    @staticmethod
    def _send(path: Path, upload: Any, part: int) -> None:
        # Pieces are those of the store, or more of them in one where S3's 10,000 would not do.
        part *= 1 + path.stat().st_size // (PIECES * part)
        try:
            with path.open("rb") as file:
                while data := file.read(part):
                    upload.write(data)
            upload.commit()
        except BaseException:
            with suppress(Exception):
                upload.abort()
            raise

    def upload(self, uri: str) -> ObjectUpload | None:
        """Begin an object that comes in pieces; what was left of an earlier one is let go."""
        scheme = uri.partition(":")[0].lower()
        if local_path(uri) is not None or scheme not in WHOLE or scheme == "memory":
            return None
        with self._told(uri):
            store, name = self._find(uri)
            _forget_uploads(uri, self._options)
            return ObjectUpload(lambda: self._told(uri), store.begin(name, _meta()), store.part)

    def remove(self, uri: str) -> bool:
        """Delete it; False if it is not there."""
        with self._told(uri, "cannot be deleted"):
            here = local_path(uri)
            try:
                if here is not None:
                    here.unlink()
                    return True
                store, name = self._find(uri)
                return store.delete(name)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                return False  # who may not list may not be told whether it is there

    def close(self) -> None:
        """Let connections go that are ours."""
        for root in tuple(self._stores):
            with suppress(Exception):
                self._stores.pop(root).close()

    def _find(self, uri: str) -> tuple[Blocking, str]:
        """The store, and the path in it."""
        from streamcrawl.storage.store import SCHEMES, Place

        scheme, _, rest = uri.partition("://")
        scheme = scheme.lower()
        server, _, name = rest.partition("/")
        root = f"{scheme}://{server}"
        if root not in self._stores:
            place = Place(root, self._options, self._acl, {})
            self._stores[root] = SCHEMES.get(scheme, SCHEMES["*"])(place)
        return self._stores[root], unquote(name) if scheme in ("ftp", "ftps") else name

    @contextmanager
    def _told(self, uri: str, what: str = "cannot be written") -> Generator[None]:
        """Errors of the block as the sink's; a connection that may be broken is not used again."""
        from streamcrawl.storage.store import reason

        try:
            yield
        except ObjectLost:
            raise
        except Exception as error:  # each of fsspec's file systems has its own
            again = _passes(error)
            if again:
                self.close()
            scheme = uri.partition(":")[0].lower()
            why = reason(error)
            if isinstance(error, ImportError) and scheme in EXTRAS:
                why = f"it needs: pip install streamcrawl[{EXTRAS[scheme]}]"
            raise ObjectLost(f"{shown(uri)} {what}: {why}", again=again) from error


class ObjectUpload:
    """An object that comes in pieces of any size, and is sent in those that the store has."""

    __slots__ = ("_buffer", "_part", "_sent", "_told", "_upload")

    def __init__(self, told: Callable[[], AbstractContextManager[None]], upload: Any, part: int) -> None:
        self._told = told
        self._upload = upload
        self._part = part
        self._sent = 0
        self._buffer = bytearray()

    @property
    def _size(self) -> int:
        """Bytes of the next piece: they grow, for nobody knows how many there will be, and S3 takes 10,000."""
        return self._part * (1 + self._sent // 1000)

    def write(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= (size := self._size):
            block = bytes(memoryview(self._buffer)[:size])
            del self._buffer[:size]
            self._send(block)

    def _send(self, block: bytes) -> None:
        with self._told():
            self._upload.write(block)
        self._sent += 1

    def commit(self) -> None:
        if self._buffer:
            self._send(bytes(self._buffer))
        with self._told():
            self._upload.commit()

    def abandon(self) -> None:
        with suppress(Exception):
            self._upload.abort()


def _meta() -> Any:
    from streamcrawl.storage.store import Meta

    return Meta()


def _put_here(path: Path, target: Path) -> None:
    """Written beside it, and renamed."""
    beside = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        copyfile(path, beside)
        beside.replace(target)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def _forget_uploads(uri: str, options: dict[str, Any]) -> None:
    """Of a run that was killed: nobody sees the parts, but they are paid for."""
    scheme, _, rest = uri.partition("://")
    if scheme.lower() not in ("s3", "s3a"):
        return
    bucket, _, key = rest.partition("/")
    with suppress(Exception):  # who may not ask, or a store that has no such thing
        import fsspec  # type: ignore[import-untyped] # pyright: ignore # it has no annotations

        files: Any = fsspec.filesystem("s3", **options)  # pyright: ignore[reportUnknownMemberType] # the one in use
        for upload in files.list_multipart_uploads(bucket):
            if upload["Key"] == key:
                files.abort_mpu(bucket, key, upload["UploadId"])


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
