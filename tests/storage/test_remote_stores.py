"""Stores elsewhere: S3 (moto), Google Cloud Storage (an emulator), FTP (pyftpdlib), and what else fsspec reaches."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from aiohttp import ClientTimeout
from store_servers import ONCE, S3, Gcs, ftp_server, gcs_server, s3_server

from streamcrawl.errors import SinkError
from streamcrawl.storage.ftp_store import moment
from streamcrawl.storage.store import Meta, Place, Stat, Store, StoreError
from streamcrawl.testing.site import Answer, serve

KINDS = ("s3", "gs", "ftp", "ftps", "memory")
BIG = 20 * 1024 * 1024 + 7
LATE = BIG - 2_000_000
"""Where parts are under way in all stores."""


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store of the kind that the test is for, on a server of its own."""
    with ExitStack() as servers:
        yield made(request.param, tmp_path, servers)


def made(kind: str, folder: Path, servers: ExitStack) -> Place:
    if kind == "s3":
        return Place("s3://pictures/some/where", servers.enter_context(s3_server("pictures")).storage)
    if kind == "gs":
        return Place("gs://pictures/some/where", servers.enter_context(gcs_server("pictures")).storage)
    if kind == "memory":
        return Place(f"memory://{folder.name}/where")
    (folder / "ftp").mkdir()
    if kind == "ftp":
        return Place(f"{servers.enter_context(ftp_server(folder / 'ftp')).url}/some/where")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    server = servers.enter_context(ftp_server(folder / "ftp", certificate=folder / "server.pem"))
    login = {"username": "ada", "password": "secret", "cafile": str(folder / "ca.pem")}
    return Place(f"ftps://127.0.0.1:{server.port}/some/where", login)


async def pieces(error: Exception | None = None, then: Callable[[], None] | None = None) -> AsyncIterator[bytes]:
    for n in range(0, BIG, 700_000):
        await asyncio.sleep(0)
        if n > LATE and then is not None:
            then()
        if n > LATE and error is not None:
            raise error
        yield (b"%07d" % (n // 7)) * ((min(BIG, n + 700_000) - n + 6) // 7)


async def whole() -> bytes:
    return b"".join([piece async for piece in pieces()])


async def known(store: Store, path: str, digest: str = "") -> Stat:
    found = await store.stat(path, digest)
    assert found is not None
    return found


@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_store_look_up_read_list_delete(place: Place) -> None:
    async def work() -> None:
        store = place.open()
        assert await store.stat("full/a.jpg", "md5") is None
        assert await store.list() == {}
        assert await store.delete("full/a.jpg") is False
        before = time.time()
        await store.put("full/a.jpg", b"old")
        await store.put("full/a.jpg", b"new one", Meta("image/jpeg", {"width": "60"}))
        await store.put("b \u00e4+?.txt", b"x")
        found = await known(store, "full/a.jpg", "md5")
        assert found.size == 7
        assert abs(found.modified - before) < 30, "the clock of the store is in UTC, whatever the zone here"
        if place.scheme != "memory":
            assert found.checksum == hashlib.md5(b"new one").hexdigest()
        if place.scheme in ("s3", "gs"):
            assert found.fields["width"] == "60"
        assert (await known(store, "full/a.jpg")).checksum is None or place.scheme in ("s3", "gs")
        assert await store.read("full/a.jpg") == b"new one"
        listed = await store.list()
        assert {path: stat.size for path, stat in listed.items()} == {"b \u00e4+?.txt": 1, "full/a.jpg": 7}
        assert abs(listed["full/a.jpg"].modified - before) < 30
        assert list(await store.list("full")) == ["full/a.jpg"]
        assert store.url("full/a.jpg").endswith("some/where/full/a.jpg" if place.scheme != "memory" else "full/a.jpg")
        assert await store.delete("full/a.jpg") is True
        assert await store.stat("full/a.jpg") is None
        await store.close()

    asyncio.run(work())


@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_a_large_file_in_pieces(place: Place) -> None:
    async def work() -> None:
        store = place.open()
        await store.put("big.bin", pieces())
        body = await whole()
        found = await known(store, "big.bin", "md5")
        assert found.size == len(body)
        assert found.checksum in (hashlib.md5(body).hexdigest(), None), "S3 has none of parts"
        assert await store.read("big.bin") == body
        await store.close()

    asyncio.run(work())


@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_what_breaks_off_is_thrown_away(place: Place, tmp_path: Path) -> None:
    async def work() -> None:
        store = place.open()
        await store.put("big.bin", b"old")
        with pytest.raises(RuntimeError, match="broken"):
            await store.put("big.bin", pieces(RuntimeError("broken")))
        assert await store.read("big.bin") == b"old"
        assert list(await store.list()) == ["big.bin"]
        await store.close()

    asyncio.run(work())
    assert [path.name for path in (tmp_path / "ftp").rglob("*") if path.is_file()] in ([], ["big.bin"])


@pytest.mark.parametrize("place", ["s3", "gs", "ftp"], indirect=True)
def test_a_name_that_cannot_be_is_that_files_fault_alone(place: Place) -> None:
    async def work() -> None:
        store = place.open()
        for data in (b"x", pieces()):
            with pytest.raises(StoreError, match=r"cannot write a{200}") as caught:
                await store.put("a" * 1500, data)
            assert caught.value.single
        assert await store.list() == {}
        await store.put("b", b"and it goes on")
        await store.close()

    asyncio.run(work())


# -- S3 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3() -> Iterator[S3]:
    with s3_server("pictures") as server:
        yield server


def test_acl_and_header_fields_on_s3(s3: S3) -> None:
    async def work() -> None:
        headers = {"Cache-Control": "max-age=60", "X-Amz-Storage-Class": "STANDARD_IA", "x-amz-meta-by": "us"}
        place = Place("s3://pictures", s3.storage, acl="public-read", headers=headers)
        store = place.open()
        await store.put("small.jpg", b"x", Meta("image/jpeg", {"width": "5"}))
        await store.put("big.jpg", pieces(), Meta("image/jpeg"))
        await store.close()

    asyncio.run(work())
    for key in ("small.jpg", "big.jpg"):
        head = s3.client.head_object(Bucket="pictures", Key=key)
        told = head["ContentType"], head["CacheControl"], head["StorageClass"], head["Metadata"]["by"]
        assert told == ("image/jpeg", "max-age=60", "STANDARD_IA", "us")
        grants = s3.client.get_object_acl(Bucket="pictures", Key=key)["Grants"]
        assert [each["Permission"] for each in grants if "AllUsers" in each["Grantee"].get("URI", "")] == ["READ"]


def test_an_acl_that_s3_has_not() -> None:
    with pytest.raises(SinkError, match="acl='everybody': S3 has authenticated-read, aws-exec-read"):
        Place("s3://pictures", {"anon": True}, acl="everybody").open()


def test_without_an_acl_and_by_default_on_s3(s3: S3) -> None:
    async def work() -> None:
        store = Place("s3://pictures/", s3.storage).open()
        await store.put("a.jpg", b"x")
        await store.close()

    asyncio.run(work())
    assert s3.client.head_object(Bucket="pictures", Key="a.jpg")["CacheControl"] == "max-age=172800"
    grants = s3.client.get_object_acl(Bucket="pictures", Key="a.jpg")["Grants"]
    assert [each["Grantee"]["Type"] for each in grants] == ["CanonicalUser"], "private"


def test_uploads_that_break_off_are_aborted_on_s3(s3: S3) -> None:
    begun: list[int] = []

    async def work() -> None:
        store = Place("s3://pictures/a", s3.storage).open()
        with pytest.raises(RuntimeError, match="broken"):
            await store.put(
                "big", pieces(RuntimeError("broken"), then=lambda: begun.append(len(s3.uploads("pictures"))))
            )
        await store.close()

    asyncio.run(work())
    assert begun[:1] == [1]
    assert s3.uploads("pictures") == []
    assert s3.keys("pictures") == []


@pytest.mark.parametrize("bucket", ["nosuch", ""])
def test_a_bucket_that_is_missing_on_s3(s3: S3, bucket: str) -> None:
    with pytest.raises(SinkError, match="bucket does not exist" if bucket else "names no bucket"):
        Place(f"s3://{bucket}", s3.storage).open()


def test_wrong_credentials_on_s3(s3: S3) -> None:
    s3.only_known_keys()
    with pytest.raises(SinkError, match="Access Key Id you provided does not exist") as caught:
        Place("s3://pictures", {**s3.storage, "secret": "hidden"}).open()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("large", [False, True])
def test_a_server_that_dies_on_s3(monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    import s3fs  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with s3_server("pictures") as server:

        async def work() -> None:
            store = Place("s3://pictures", {**server.storage, **ONCE}).open()
            await store.put("a", b"x")
            if not large:
                server.stop()
            with pytest.raises(StoreError, match=r"cannot write b: .*(connect|Connection)") as caught:
                await store.put("b", pieces(then=server.stop) if large else b"x")
            assert not caught.value.single
            await store.close()

        asyncio.run(work())


@pytest.mark.parametrize(("scheme", "name"), [("s3", "Set-Cookie"), ("gs", "X-Amz-Meta-A")])
def test_header_fields_that_are_not_kept(scheme: str, name: str) -> None:
    with pytest.raises(SinkError, match=f"keeps no '{name}'"):
        Place(f"{scheme}://pictures", {"token": "anon"} if scheme == "gs" else {}, headers={name: "x"}).open()


# -- Google Cloud Storage ---------------------------------------------------------------------------------------------


@pytest.fixture
def gcs() -> Iterator[Gcs]:
    with gcs_server("pictures") as server:
        yield server


@pytest.mark.parametrize("acl", ["public-read", "publicRead"])
def test_acl_and_header_fields_on_gcs(gcs: Gcs, acl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import gcsfs.core  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]

    asked: list[str | None] = []
    kind: Any = gcsfs.core.GCSFileSystem
    real: Any = kind._request

    async def request(self: Any, method: str, path: str, *args: Any, **options: Any) -> Any:
        if method == "POST":
            asked.append(options.get("predefinedAcl"))
        return await real(self, method, path, *args, **options)

    monkeypatch.setattr(kind, "_request", request)

    async def work() -> None:
        headers = {"Cache-Control": "max-age=60", "x-goog-meta-by": "us"}
        store = Place("gs://pictures/a", gcs.storage, acl=acl, headers=headers).open()
        await store.put("small.jpg", b"x", Meta("image/jpeg", {"width": "5"}))
        await store.put("big.jpg", pieces(), Meta("image/jpeg"))
        await store.close()

    asyncio.run(work())
    assert asked == ["publicRead", "publicRead"], "the emulator keeps no ACLs"
    for key in ("a/small.jpg", "a/big.jpg"):
        kept = gcs.resource("pictures", key)
        assert (kept["contentType"], kept["cacheControl"], kept["metadata"]["by"]) == ("image/jpeg", "max-age=60", "us")


def test_an_acl_that_gcs_has_not() -> None:
    with pytest.raises(SinkError, match="acl='everybody': GCS has authenticatedRead"):
        Place("gs://pictures", {"token": "anon"}, acl="everybody").open()


def test_a_bucket_that_is_missing_on_gcs(gcs: Gcs) -> None:
    with pytest.raises(SinkError, match="there is no bucket 'nosuch'"):
        Place("gs://nosuch/a", gcs.storage).open()


def test_wrong_credentials_on_gcs(gcs: Gcs, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="store gs://pictures"):
        Place("gs://pictures", {**gcs.storage, "token": str(tmp_path / "nosuch.json")}).open()


def test_credentials_that_the_server_of_gcs_refuses() -> None:
    told = json.dumps({"error": {"code": 401, "message": "Invalid Credentials", "errors": []}})
    with serve({"*": Answer(told, status=401, headers={"Content-Type": "application/json"})}) as server:
        with pytest.raises(SinkError, match="store gs://pictures: cannot be written: Invalid Credentials, 401"):
            Place("gs://pictures", {"token": "anon", "endpoint_url": server.url}).open()
        assert server.served == 1, "it is not asked again and again"


@pytest.mark.parametrize("large", [False, True])
def test_a_server_that_dies_on_gcs(large: bool) -> None:
    with gcs_server("pictures") as server:

        async def work() -> None:
            store = Place("gs://pictures", {**server.storage, "retries": 0}).open()
            await store.put("a", b"x")
            if not large:
                server.stop()
            with pytest.raises(StoreError, match="cannot write b: ") as caught:
                await store.put("b", pieces(then=server.stop) if large else b"x")
            assert not caught.value.single
            await store.close()

        asyncio.run(work())


# -- nobody at the address --------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        yield taken.getsockname()[1]


class _Hasty:
    """asyncio without its sleep."""

    def __init__(self, waits: list[float]) -> None:
        self._waits = waits

    async def sleep(self, seconds: float) -> None:
        self._waits.append(seconds)


@pytest.mark.parametrize(
    ("options", "waits"), [({}, 2), ({"connect_retries": 0}, 0), ({"connect_retries": 9}, 5), ({"retries": 1}, 1)]
)
def test_nobody_at_the_address_of_gcs(
    closed_port: int, monkeypatch: pytest.MonkeyPatch, options: dict[str, int], waits: int
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("streamcrawl.storage.gcs_calls.asyncio", _Hasty(waited))
    storage = {"token": "anon", "endpoint_url": f"http://127.0.0.1:{closed_port}", **options}
    with pytest.raises(StoreError, match="store gs://pictures: cannot be written: Connect call failed"):
        Place("gs://pictures", storage).open()
    assert len(waited) == waits
    if not options:
        assert sum(waited) < 8
    assert all(1 <= wait <= 32 for wait in waited)


def test_a_server_of_gcs_that_takes_the_connection_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("streamcrawl.storage.gcs_calls.asyncio", _Hasty(waited))
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # the system takes the connections
        storage = {"token": "anon", "endpoint_url": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        hasty = {"requests_timeout": ClientTimeout(sock_read=0.05)}
        with pytest.raises(StoreError, match="store gs://pictures: cannot be written: Timeout on reading data"):
            Place("gs://pictures", {**storage, **hasty}).open()
    assert len(waited) == 2


def test_nobody_is_waited_for_five_minutes() -> None:
    from streamcrawl.storage.gcs import Gcs as Store

    patience = [
        cast("Any", Store(Place("gs://c", {"token": "anon", **told})))._fs.requests_timeout
        for told in ({}, {"requests_timeout": 7})
    ]
    assert (patience[0].total, patience[0].sock_connect, patience[0].sock_read, patience[1]) == (None, 20, 30, 7)


def azure_at(port: int) -> dict[str, Any]:
    place = f"BlobEndpoint=http://127.0.0.1:{port}/me"
    return {"connection_string": f"DefaultEndpointsProtocol=http;AccountName=me;AccountKey=a2V5;{place};"}


@pytest.mark.parametrize(("options", "waits"), [({}, 2), ({"retry_connect": 0}, 0), ({"retry_total": 1}, 1)])
def test_nobody_at_the_address_of_azure(
    closed_port: int, monkeypatch: pytest.MonkeyPatch, options: dict[str, int], waits: int
) -> None:
    waited: list[float] = []
    policy: Any = importlib.import_module("azure.storage.blob._shared.policies_async").ExponentialRetry
    wait_of: Any = policy.get_backoff_time

    def noted(self: Any, settings: dict[str, Any]) -> float:
        waited.append(wait_of(self, settings))
        return 0.0

    monkeypatch.setattr(policy, "get_backoff_time", noted)
    with pytest.raises(StoreError, match="store abfs://pictures/some: cannot be written: Cannot connect to host"):
        Place("abfs://pictures/some", {**azure_at(closed_port), **options}).open()
    assert len(waited) == waits
    assert sum(waited) <= 8


def test_one_store_s_retries_are_not_another_s(closed_port: int) -> None:
    from streamcrawl.storage.azure import Azure

    storage = azure_at(closed_port)
    made: list[Any] = [Azure(Place("abfs://c", {**storage, **told})) for told in ({"retry_total": 7}, {})]
    assert [each._fs.service_client._config.retry_policy.total_retries for each in made] == [7, 4]


@pytest.mark.parametrize(("uri", "name"), [("gs://c", "retries"), ("abfs://c", "retry_total")])
@pytest.mark.parametrize("bad", [-1, 1.5, "2", True])
def test_a_number_of_retries_that_is_none(uri: str, name: str, bad: object) -> None:
    storage = azure_at(1) if uri.startswith("abfs") else {"token": "anon"}
    with pytest.raises(StoreError, match=rf"storage=\{{'{name}': {bad!r}\}}: a (whole )?number"):
        Place(uri, {**storage, name: bad}).open()


# -- FTP --------------------------------------------------------------------------------------------------------------


def test_wrong_credentials_on_ftp(tmp_path: Path) -> None:
    with ftp_server(tmp_path) as server:
        server.handler.auth_failed_timeout = 0
        with pytest.raises(SinkError, match="530") as caught:
            Place(f"ftp://ada:hidden@127.0.0.1:{server.port}/a").open()
    assert "hidden" not in str(caught.value)


def test_a_server_that_dies_on_ftp(tmp_path: Path) -> None:
    with ftp_server(tmp_path) as server:

        async def work() -> None:
            store = Place(server.url, {"timeout": 5}).open()
            await store.put("a", b"x")
            with pytest.raises(StoreError, match="cannot write b: ") as caught:
                await store.put("b", pieces(then=server.stop))
            assert not caught.value.single
            with pytest.raises(StoreError, match="cannot write c: Connection refused"):
                await store.put("c", b"x")
            await store.close()

        asyncio.run(work())
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("lacks", "size", "modified"), [(["MDTM"], 1, False), (["SIZE"], 0, True), (["MDTM", "SIZE"], None, None)]
)
def test_a_server_that_does_not_know_a_command(
    tmp_path: Path, lacks: list[str], size: int | None, modified: bool | None
) -> None:
    with ftp_server(tmp_path) as server:
        known = server.handler.proto_cmds
        server.handler.proto_cmds = {name: how for name, how in known.items() if name not in lacks}

        async def work() -> None:
            store = Place(server.url).open()
            await store.put("a", b"x")
            found = await store.stat("a", "md5")
            if size is None:
                assert found is None, "there is no telling"
            else:
                assert found is not None
                assert (found.size, found.modified > 0) == (size, modified), "as old as can be: it is fetched anew"
            await store.close()

        asyncio.run(work())


def test_a_connection_that_was_closed_meanwhile_is_opened_anew(tmp_path: Path) -> None:
    with ftp_server(tmp_path) as server:
        server.handler.timeout = 1

        async def work() -> None:
            store = Place(server.url).open()
            await store.put("a", b"x")
            files: Any = store
            for ftp in files._files._idle.queue:
                ftp.sock.shutdown(2)
            await store.put("b", b"y")
            await store.close()

        asyncio.run(work())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_active_mode(tmp_path: Path) -> None:
    with ftp_server(tmp_path) as server:

        async def work() -> None:
            store = Place(server.url, {"active": True}).open()
            await store.put("a", b"x" * 1000)
            assert await store.read("a") == b"x" * 1000
            await store.close()

        asyncio.run(work())


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    with ftp_server(tmp_path, certificate=tmp_path / "server.pem") as server:
        login = {"username": "ada", "password": "secret"}
        with pytest.raises(SinkError, match="certificate verify failed") as caught:
            Place(f"ftps://127.0.0.1:{server.port}", login).open()
        assert isinstance(caught.value.__cause__, ssl.SSLError)

        async def work() -> None:
            await Place(f"ftps://127.0.0.1:{server.port}", {**login, "verify": False}).open().close()

        asyncio.run(work())


@pytest.mark.parametrize(
    ("uri", "storage", "said"),
    [("ftp:///a", {}, "names no server"), ("ftp://host.example/a", {"user": "a"}, "for FTP there are active, cafile")],
)
def test_what_is_no_place_on_ftp(uri: str, storage: dict[str, Any], said: str) -> None:
    with pytest.raises(SinkError, match=said):
        Place(uri, storage).open()


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("213 20261121081533", 1795248933.0),
        ("20261121081533.25", 1795248933.25),
        ("213 19700101000000", 0.0),
        ("213 191261121081533", 1795248933.0),
    ],
)
def test_moments_are_in_utc(told: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert moment(told) == seconds
    finally:
        monkeypatch.undo()
        time.tzset()
