"""Servers on loopback that feeds are stored on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs.core  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
import trustme

from feeds.azure_server import AzureServer
from feeds.servers import FtpServer, GcsServer, S3Server, SftpServer


@pytest.fixture(autouse=True)
def spools_here(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a feed could not store stays in the temporary folder: in that of the tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("spools")))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server().start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    monkeypatch.setattr(s3fs.core.S3FileSystem, "retries", 1)
    s3_server.wipe()
    yield s3_server
    s3_server.wipe()  # all of moto's servers in a process share what they have


@pytest.fixture
def gcs() -> Iterator[GcsServer]:
    server = GcsServer()
    yield server
    server.stop()


@pytest.fixture
def azure() -> Iterator[AzureServer]:
    server = AzureServer()
    yield server
    server.stop()


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[FtpServer]:
    (tmp_path / "ftp").mkdir()
    server = FtpServer(tmp_path / "ftp", None, None)
    yield server
    server.stop()


@pytest.fixture
def ftps(tmp_path: Path) -> Iterator[FtpServer]:
    (tmp_path / "ftps").mkdir()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    server = FtpServer(tmp_path / "ftps", tmp_path / "server.pem", tmp_path / "ca.pem")
    yield server
    server.stop()


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpServer]:
    (tmp_path / "sftp").mkdir()
    server = SftpServer(tmp_path / "sftp")
    yield server
    server.stop()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Any:
    """The one that the test is parametrized with."""
    return request.getfixturevalue(request.param)
