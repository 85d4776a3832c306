"""Object stores and an FTP server on loopback, for the tests of stores."""

from __future__ import annotations

import json
import logging
import threading
import urllib.request
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import boto3  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
from moto import settings as moto_settings
from moto.core.base_backend import BackendDict
from moto.server import ThreadedMotoServer

KEYS = {"key": "key", "secret": "secret"}
ONCE = {"config_kwargs": {"retries": {"max_attempts": 0}}}
"""For servers that die: botocore asks once."""


class S3:
    """moto's S3 server, and a client of its own."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self._stopped = False
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.client: Any = cast("Any", boto3).client(
            "s3", endpoint_url=self.url, aws_access_key_id="key", aws_secret_access_key="secret"
        )

    @property
    def storage(self) -> dict[str, Any]:
        return {**KEYS, "endpoint_url": self.url}

    def only_known_keys(self) -> None:
        """From now on unknown credentials are refused."""
        self._tell("reset-auth", b"0")

    def _tell(self, what: str, body: bytes = b"") -> None:
        request = urllib.request.Request(f"{self.url}/moto-api/{what}", body, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request).close()

    def uploads(self, bucket: str) -> list[str]:
        """The keys of uploads that were begun and not ended."""
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def keys(self, bucket: str) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def stop(self) -> None:
        """Once; what it has is gone: all of moto's servers in a process share it."""
        if not self._stopped:
            self._stopped = True
            server: Any = self._server
            listening = server._server
            self._server.stop()
            listening.server_close()
            moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")
            BackendDict.reset()


@contextmanager
def s3_server(*buckets: str) -> Generator[S3]:
    server = S3()
    for bucket in buckets:
        server.client.create_bucket(Bucket=bucket)
    try:
        yield server
    finally:
        server.stop()


class Gcs:
    """The emulator of Google Cloud Storage, in memory; it notes the queries of what is asked of it."""

    def __init__(self, bucket: str) -> None:
        from gcp_storage_emulator.server import create_server  # type: ignore[import-untyped] # pyright: ignore

        logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
        self._server: Any = create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
        self._server.start()
        host, port = self._server._api._httpd.socket.getsockname()
        self.url = f"http://{host}:{port}"

    @property
    def storage(self) -> dict[str, Any]:
        return {"endpoint_url": self.url, "token": "anon", "project": "test"}

    def resource(self, bucket: str, key: str) -> dict[str, Any]:
        """What it keeps of an object beside its bytes."""
        with urllib.request.urlopen(f"{self.url}/storage/v1/b/{bucket}/o/{key.replace('/', '%2F')}") as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def gcs_server(bucket: str) -> Generator[Gcs]:
    server = Gcs(bucket)
    try:
        yield server
    finally:
        server.stop()


class Ftp:
    """pyftpdlib's server of a folder, in a thread of its own."""

    def __init__(self, folder: Path, *, certificate: Path | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of asyncore, which it is built on
            from pyftpdlib.authorizers import DummyAuthorizer  # type: ignore[import-untyped] # pyright: ignore
            from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler  # type: ignore[import-untyped] # pyright: ignore
            from pyftpdlib.servers import FTPServer  # type: ignore[import-untyped] # pyright: ignore

        logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)
        authorizer: Any = DummyAuthorizer()
        authorizer.add_user("ada", "secret", str(folder), perm="elradfmwMT")
        base: Any = FTPHandler if certificate is None else TLS_FTPHandler
        options: dict[str, Any] = {"authorizer": authorizer, "banner": "ready"}
        if certificate is not None:
            options |= {"certfile": str(certificate), "tls_control_required": True, "tls_data_required": True}
        self.handler: Any = type("Handler", (base,), options)
        self._server: Any = FTPServer(("127.0.0.1", 0), self.handler)
        self.port: int = self._server.socket.getsockname()[1]
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="ftp", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopping:
            self._server.ioloop.loop(0.02, blocking=False)
        self._server.close_all()

    @property
    def url(self) -> str:
        return f"ftp://ada:secret@127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()


@contextmanager
def ftp_server(folder: Path, *, certificate: Path | None = None) -> Generator[Ftp]:
    server = Ftp(folder, certificate=certificate)
    try:
        yield server
    finally:
        server.stop()
