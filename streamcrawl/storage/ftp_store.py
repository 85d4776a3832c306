"""A folder of an FTP server as a store: a file is written under another name, and renamed when it is whole."""

from __future__ import annotations

import errno
import hashlib
import socket
import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from ftplib import FTP, FTP_TLS, all_errors, error_perm
from io import BytesIO
from itertools import count
from os import getpid
from queue import Empty, LifoQueue
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from streamcrawl.storage.objects import shown
from streamcrawl.storage.store import Meta, Place, Stat
from streamcrawl.storage.threaded import Block

T = TypeVar("T")

CHUNK = 64 * 1024
FOLDERS = 10_000
"""Folders that are known to be there, at most."""
OPTIONS = ("active", "cafile", "encoding", "password", "timeout", "username", "verify")

_numbers = count(1)


class FtpStore:
    """Files below a folder of a server.

    Args:
        place: `storage` has username and password, where the URI has none ("anonymous", "guest"); timeout in seconds
            (30); encoding ("utf-8"); active: whether the server opens the data connections; and for ftps: cafile, a
            file of certificates to trust beside the system's, and verify: whether the server's is checked at all.

    Source: RFC 959, RFC 3659 (MDTM, MLSD), RFC 4217 (FTP over TLS).
    """

    part = 1024 * 1024
    at_once = 4

    def __init__(self, place: Place) -> None:
        uri, storage = urlsplit(place.uri), place.storage
        for name in storage:
            if name not in OPTIONS:
                raise ValueError(f"storage={{{name!r}: …}}: for FTP there are {', '.join(OPTIONS)}")
        if not uri.hostname:
            raise ValueError("the URI names no server")
        self._tls = _context(storage) if place.scheme == "ftps" else None
        self._server = uri.hostname, uri.port or 21
        self._login = (
            unquote(uri.username or "") or str(storage.get("username") or "anonymous"),
            unquote(uri.password or "") or str(storage.get("password") or "guest"),
        )
        self._timeout = float(storage.get("timeout", 30))
        self._encoding = str(storage.get("encoding", "utf-8"))
        self._active = bool(storage.get("active"))
        self._root = unquote(uri.path).rstrip("/")
        self._uri = shown(place.uri).rstrip("/")
        self._idle: LifoQueue[FTP] = LifoQueue()
        self._known: set[str] = set()

    def check(self) -> None:
        """Log in, and make the folder."""
        with self._connection() as ftp:
            self._make(ftp, self._root)

    def put(self, path: str, data: Block, meta: Meta) -> None:
        with self._connection() as ftp:
            temporary, target = self._beside(ftp, path)
            try:
                ftp.storbinary(f"STOR {temporary}", BytesIO(data), CHUNK)
                _rename(ftp, temporary, target)
            except (OSError, error_perm):
                with suppress(*all_errors):
                    ftp.delete(temporary)
                raise

    def begin(self, path: str, meta: Meta) -> _Growing:
        ftp = self._take()
        try:
            temporary, target = self._beside(ftp, path)
            ftp.voidcmd("TYPE I")
            return _Growing(self, ftp, ftp.transfercmd(f"STOR {temporary}"), temporary, target)
        except BaseException:
            ftp.close()
            raise

    def stat(self, path: str, digest: str) -> Stat | None:
        with self._connection() as ftp:
            try:
                ftp.voidcmd("TYPE I")
                size = _if_known(lambda: ftp.size(self._at(path)))
                modified = _if_known(lambda: moment(ftp.voidcmd(f"MDTM {self._at(path)}")))
                if size is None and modified is None:
                    return None  # there is no telling whether it is there
                checksum = self._digest(ftp, path, digest) if digest else None
            except error_perm as error:
                if str(error).startswith("550"):
                    return None
                raise
        return Stat(modified or 0.0, size or 0, checksum)

    def _digest(self, ftp: FTP, path: str, digest: str) -> str:
        """The server has none: the file is read."""
        made = hashlib.new(digest, usedforsecurity=False)
        ftp.retrbinary(f"RETR {self._at(path)}", made.update, CHUNK)
        return made.hexdigest()

    def read(self, path: str) -> bytes:
        body = BytesIO()
        with self._connection() as ftp:
            ftp.retrbinary(f"RETR {self._at(path)}", body.write, CHUNK)
        return body.getvalue()

    def delete(self, path: str) -> bool:
        with self._connection() as ftp:
            try:
                ftp.delete(self._at(path))
            except error_perm as error:
                if str(error).startswith("550"):
                    return False
                raise
        return True

    def list(self, folder: str) -> dict[str, Stat]:
        found: dict[str, Stat] = {}
        waiting = [folder]
        with self._connection() as ftp:
            while waiting:
                folder = waiting.pop()
                try:
                    entries = sorted(ftp.mlsd(self._at(folder) or "/", ["type", "size", "modify"]))
                except error_perm as error:
                    if str(error).startswith("550"):
                        continue
                    raise
                for name, facts in entries:
                    path = f"{folder}/{name}" if folder else name
                    if facts.get("type") == "dir":
                        waiting.append(path)
                    elif facts.get("type") == "file" and not name.startswith("."):
                        found[path] = Stat(moment(facts.get("modify", "")), int(facts.get("size", 0)))
        return dict(sorted(found.items()))

    def url(self, path: str) -> str:
        return f"{self._uri}/{path}"

    def close(self) -> None:
        while True:
            try:
                ftp = self._idle.get_nowait()
            except Empty:
                return
            try:
                ftp.quit()
            except all_errors:
                ftp.close()

    # -- connections -----------------------------------------------------------------------------------------------

    @contextmanager
    def _connection(self) -> Generator[FTP]:
        ftp = self._take()
        try:
            yield ftp
        except error_perm:
            self.give_back(ftp)  # the server said no, and is there
            raise
        except BaseException:
            ftp.close()
            raise
        self.give_back(ftp)

    def _take(self) -> FTP:
        """One that idles and still answers, or a new one."""
        while True:
            try:
                ftp = self._idle.get_nowait()
            except Empty:
                return self._connect()
            try:
                ftp.voidcmd("NOOP")
            except all_errors:
                ftp.close()
            else:
                return ftp

    def _connect(self) -> FTP:
        options: dict[str, Any] = {"timeout": self._timeout, "encoding": self._encoding}
        ftp = FTP(**options) if self._tls is None else FTP_TLS(context=self._tls, **options)  # noqa: S321 - as asked for
        try:
            ftp.connect(*self._server)
            ftp.login(*self._login)
            if isinstance(ftp, FTP_TLS):
                ftp.prot_p()
            ftp.set_pasv(not self._active)
        except BaseException:
            ftp.close()
            raise
        return ftp

    def give_back(self, ftp: FTP) -> None:
        """The connection may be used again."""
        self._idle.put(ftp)

    # -- paths -----------------------------------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        if "\r" in path or "\n" in path:
            raise ValueError("a path of FTP is one line")
        return f"{self._root}/{path}" if path else self._root

    def _beside(self, ftp: FTP, path: str) -> tuple[str, str]:
        target = self._at(path)
        folder, _, name = target.rpartition("/")
        self._make(ftp, folder)
        return f"{folder}/.{name[:100]}.{getpid()}-{next(_numbers)}.part", target

    def _make(self, ftp: FTP, folder: str) -> None:
        """Make a folder, and those above it."""
        if folder in ("", "/") or folder in self._known:
            return
        try:
            ftp.cwd(folder)
        except error_perm:
            self._make(ftp, folder.rpartition("/")[0])
            try:
                ftp.mkd(folder)
            except error_perm:
                ftp.cwd(folder)  # somebody else has made it by now
        if len(self._known) < FOLDERS:
            self._known.add(folder)

    def __repr__(self) -> str:
        return f"<FtpStore {self._uri}: {self._idle.qsize()} connections idle>"


class _Growing:
    """A file that is being sent."""

    def __init__(self, store: FtpStore, ftp: FTP, data: socket.socket, temporary: str, target: str) -> None:
        self._store = store
        self._ftp = ftp
        self._data = data
        self._temporary = temporary
        self._target = target
        self._answered = False

    def write(self, part: Block) -> None:
        self._data.sendall(part)

    def commit(self) -> None:
        if isinstance(self._data, ssl.SSLSocket):
            self._data.unwrap()
        self._data.close()
        self._answered = True
        self._ftp.voidresp()
        _rename(self._ftp, self._temporary, self._target)
        self._store.give_back(self._ftp)

    def abort(self) -> None:
        try:
            self._data.close()
            if not self._answered:
                with suppress(*all_errors):
                    self._ftp.voidresp()
            with suppress(*all_errors):
                self._ftp.delete(self._temporary)
        finally:
            self._ftp.close()


def _if_known(ask: Callable[[], T]) -> T | None:
    """The answer; None if the server does not know the command. Source: RFC 959 §4.2.1, 500, 502 and 504."""
    try:
        return ask()
    except error_perm as error:
        if str(error)[:3] in ("500", "502", "504"):
            return None
        raise


def _rename(ftp: FTP, temporary: str, target: str) -> None:
    """Raises: OSError with EINVAL if the server does not take the name: the file was taken."""
    try:
        ftp.rename(temporary, target)
    except error_perm as error:
        raise OSError(errno.EINVAL, str(error)) from error


def moment(told: str) -> float:
    """Seconds since the epoch of "213 20261121081533.123", or of the same without the code.

    Source: RFC 3659 §2.3: YYYYMMDDHHMMSS in UTC, and fractions of the second.
    """
    digits, _, fraction = told.rpartition(" ")[2].partition(".")
    if len(digits) == 15 and digits.startswith("19"):
        digits = f"{1900 + int(digits[2:5])}{digits[5:]}"  # of servers that write "19" before the years since 1900
    date = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return date.timestamp() + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)


def _context(storage: Mapping[str, Any]) -> ssl.SSLContext:
    made = ssl.create_default_context()
    if storage.get("cafile"):
        made.load_verify_locations(storage["cafile"])
    if not storage.get("verify", True):
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made
