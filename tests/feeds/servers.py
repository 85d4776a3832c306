"""Servers on loopback that feeds are stored on: S3, Google Cloud Storage, FTP, FTPS and SFTP."""

from __future__ import annotations

import asyncio
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import asyncssh
import boto3  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
import requests  # pyright: ignore
from gcp_storage_emulator import server as gcs_emulator  # type: ignore[import-untyped] # pyright: ignore
from gcsfs import core as gcsfs_core  # type: ignore[import-untyped] # pyright: ignore
from moto.server import ThreadedMotoServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it stands on asyncore, which Python gave up
    from pyftpdlib import authorizers, handlers, ioloop  # type: ignore[import-untyped] # pyright: ignore
    from pyftpdlib import servers as ftp_servers  # pyright: ignore

# None of these has annotations, or whole ones.
SSH: Any = asyncssh
GCS: Any = gcs_emulator
FILES: Any = cast("Any", gcsfs_core).GCSFileSystem
FTP_USERS: Any = cast("Any", authorizers).DummyAuthorizer
FTP_HANDLERS: Any = handlers
FTP_LOOP: Any = cast("Any", ioloop).IOLoop
FTP: Any = cast("Any", ftp_servers).FTPServer


class Server(Protocol):
    """A server with room for feeds."""

    @property
    def base(self) -> str:
        """The URI under which feeds are stored."""
        ...

    @property
    def storage(self) -> dict[str, Any]: ...

    def files(self) -> dict[str, bytes]:
        """What readers see there, by path."""
        ...

    def put(self, path: str, data: bytes) -> None: ...

    def stop(self) -> None: ...


@dataclass
class S3Server:
    base: str = "s3://pages"
    storage: dict[str, Any] = field(
        # Without retries: they take a minute for a server that does not come back.
        default_factory=lambda: {"key": "key", "secret": "secret", "config_kwargs": {"retries": {"max_attempts": 0}}}
    )
    port: int = 0

    def start(self) -> S3Server:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.storage["endpoint_url"] = self.url
        self.client = cast("Any", boto3).client(
            "s3", endpoint_url=self.url, aws_access_key_id="key", aws_secret_access_key="secret"
        )
        return self

    def wipe(self) -> None:
        requests.post(f"{self.url}/moto-api/reset", timeout=10)
        self.client.create_bucket(Bucket="pages")

    def files(self) -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket="pages").get("Contents", [])
        return {each["Key"]: self.client.get_object(Bucket="pages", Key=each["Key"])["Body"].read() for each in listed}

    def put(self, path: str, data: bytes) -> None:
        self.client.put_object(Bucket="pages", Key=path, Body=data)

    def uploads(self) -> list[Any]:
        """Those that are under way."""
        found: list[Any] = self.client.list_multipart_uploads(Bucket="pages").get("Uploads", [])
        return found

    def stop(self) -> None:
        self._server.stop()


class GcsServer:
    base = "gs://pages"

    def __init__(self) -> None:
        self._server = GCS.create_server("127.0.0.1", 0, in_memory=True, default_bucket="pages")
        api = self._server._api  # there is no other way to its port
        self._server.start()
        ready = threading.Event()
        while api._httpd is None:
            ready.wait(0.01)
        port = api._httpd.server_address[1]
        self._place = {"endpoint_url": f"http://127.0.0.1:{port}", "token": "anon"}
        self.storage = {**self._place, "retries": 0}

    def files(self) -> dict[str, bytes]:
        files = FILES(**self._place, skip_instance_cache=True)
        return {path.removeprefix("pages/"): files.cat_file(path) for path in files.find("pages")}

    def put(self, path: str, data: bytes) -> None:
        FILES(**self._place, skip_instance_cache=True).pipe_file(f"pages/{path}", data)

    def stop(self) -> None:
        self._server.stop()


class FolderServer:
    """A server of a folder of this machine."""

    folder: Path

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def put(self, path: str, data: bytes) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data)


class FtpServer(FolderServer):
    def __init__(self, folder: Path, certificate: Path | None, ca: Path | None) -> None:
        self.folder = folder
        authorizer = FTP_USERS()
        authorizer.add_user("me", "sec%ret", str(folder), perm="elradfmwMT")
        options: dict[str, Any] = {"authorizer": authorizer, "auth_failed_timeout": 0}
        kind = FTP_HANDLERS.FTPHandler
        if certificate is not None:
            kind = FTP_HANDLERS.TLS_FTPHandler
            options |= {"certfile": str(certificate), "tls_control_required": True, "tls_data_required": True}
        loop = FTP_LOOP()
        self._server = FTP(("127.0.0.1", 0), type("Handler", (kind,), options), ioloop=loop)
        port = self._server.socket.getsockname()[1]
        scheme = "ftp" if certificate is None else "ftps"
        self.base = f"{scheme}://me:sec%25ret@127.0.0.1:{port}"
        self.storage: dict[str, Any] = {} if ca is None else {"cafile": str(ca)}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            self._server.serve_forever(timeout=0.02, blocking=False)
        self._server.close_all()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


class SftpServer(FolderServer):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.base = f"sftp://127.0.0.1:{self._server.get_port()}"
        self.storage: dict[str, Any] = {"username": "me", "password": "secret", "known_hosts": None}

    async def _listen(self) -> Any:
        folder, connections = str(self.folder).encode(), self._connections

        class Files(SSH.SFTPServer):  # type: ignore[misc] # it is only partly typed
            def __init__(self, channel: Any) -> None:
                super().__init__(channel, chroot=folder)  # pyright: ignore[reportUnknownMemberType]

        class Users(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                connections.append(conn)

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                return (username, password) == ("me", "secret")

        key = SSH.generate_private_key("ssh-ed25519")
        return await SSH.create_server(Users, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=Files)

    def hang_up(self) -> None:
        """Every connection is lost; new ones are taken."""

        async def abort() -> None:
            for connection in self._connections:
                connection.abort()

        asyncio.run_coroutine_threadsafe(abort(), self._loop).result()

    def wait_until_nobody_is_there(self) -> None:
        """Raises: TimeoutError after five seconds."""

        async def wait() -> None:
            for connection in self._connections:
                await asyncio.wait_for(connection.wait_closed(), 5)

        asyncio.run_coroutine_threadsafe(wait(), self._loop).result()

    async def _close(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.abort()
        await self._server.wait_closed()

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


SERVERS = ("s3", "gcs", "azure", "ftp", "ftps", "sftp")
