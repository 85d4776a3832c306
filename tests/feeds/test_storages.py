"""Feeds on servers: stored whole, replaced, refused with a reason, and safe when the server dies."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from feeds.servers import SERVERS, S3Server, Server, SftpServer
from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.crawl import settling
from streamcrawl.errors import SinkError
from streamcrawl.events import Notice
from streamcrawl.feeds import storing
from streamcrawl.feeds.events import FeedStored
from streamcrawl.operators.feed import Feed, feed
from streamcrawl.storage.objects import ObjectUpload
from streamcrawl.streams.local import LocalRun

pytestmark = pytest.mark.filterwarnings(
    "ignore:Sending a large body directly:ResourceWarning",  # gcsfs does
    "ignore:unclosed:ResourceWarning",  # what fsspec's file systems leave when their server has died
)
ID = (0, 0, 0)
everywhere = pytest.mark.parametrize("server", SERVERS, indirect=True)


def written(sink: Feed, *items: Any) -> LocalRun:
    """Open, take the items, flush, close; the run that it was in."""

    async def work() -> LocalRun:
        run = LocalRun(asyncio.get_running_loop())
        opened = sink.open(run)
        for item in items:
            waiting: Any = opened.accept(item, ID)
            if waiting is not None:
                await waiting
        await opened.flush()
        await opened.close()
        assert run.error is None
        return run

    return asyncio.run(work())


def lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


@everywhere
def test_whole_and_in_parts(server: Server) -> None:
    items = [{"n": n} for n in range(5)]
    run = written(feed(f"{server.base}/deep/in/items.jsonl", storage=server.storage), *items)
    written(feed(f"{server.base}/parts/{{part:03}}.csv.gz", part_items=2, storage=server.storage), *items)
    files = server.files()
    assert lines(files.pop("deep/in/items.jsonl")) == items
    assert {path: gzip.decompress(data) for path, data in files.items()} == {
        "parts/001.csv.gz": b"n\r\n0\r\n1\r\n",
        "parts/002.csv.gz": b"n\r\n2\r\n3\r\n",
        "parts/003.csv.gz": b"n\r\n4\r\n",
    }
    counted = {key: value for key, value in run.stats.items() if key.startswith("feedexport/")}
    assert list(counted.values()) == [1]
    assert next(iter(counted)).startswith("feedexport/success_count/")


@everywhere
def test_what_is_there_is_replaced_at_the_end_and_not_before(server: Server) -> None:
    server.put("items.jsonl", b'{"old":1}\n')

    async def work() -> None:
        opened = feed(f"{server.base}/items.jsonl", storage=server.storage).open(LocalRun(asyncio.get_running_loop()))
        opened.accept({"new": 2}, ID)
        await opened.flush()
        assert server.files() == {"items.jsonl": b'{"old":1}\n'}
        await opened.close()

    asyncio.run(work())
    assert server.files() == {"items.jsonl": b'{"new":2}\n'}


@everywhere
def test_parts_of_an_earlier_crawl_go(server: Server) -> None:
    for n in (1, 2, 3, 5):
        server.put(f"{n}.jsonl", b'{"old":1}\n')
    written(feed(f"{server.base}/{{part}}.jsonl", storage=server.storage), {"n": 0})
    assert server.files() == {"1.jsonl": b'{"n":0}\n', "5.jsonl": b'{"old":1}\n'}


@everywhere
@pytest.mark.timeout(240)
def test_a_server_that_is_gone_at_the_end(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "PAUSE", 0.001)
    monkeypatch.setattr(storing, "TRIES", 2)
    told: list[str] = []

    async def work() -> None:
        run = LocalRun(asyncio.get_running_loop())
        run.events.on(Notice, lambda notice: told.append(notice.text))
        opened = feed(f"{server.base}/items.jsonl", storage=server.storage).open(run)
        opened.accept({"n": 1}, ID)
        await opened.flush()
        server.stop()
        with pytest.raises(SinkError, match="what is not stored is in") as caught:
            await opened.close()
        kept = Path(str(caught.value).rpartition("is in ")[2])
        assert (kept / "part.1").read_bytes() == b'{"n":1}\n'
        assert "sec" not in str(caught.value)
        (failed,) = (key for key in run.stats if key.startswith("feedexport/failed_count/"))
        assert run.stats[failed] == 1

    try:
        asyncio.run(work())
    finally:
        if isinstance(server, S3Server):
            server.start()  # it serves other tests too
    assert len([text for text in told if "again in" in text]) == 1


# ---- credentials, buckets, names


@pytest.mark.parametrize("server", ["ftp", "ftps", "sftp"], indirect=True)
def test_wrong_credentials_are_told_before_the_first_request(server: Server) -> None:
    scheme, _, place = server.base.partition("://")
    place = place.rpartition("@")[2]
    storage = {**server.storage, "username": "me", "password": "wrong"}
    with pytest.raises(SinkError, match=rf"{scheme}://{place}/items.jsonl cannot be written: .*") as caught:
        written(feed(f"{scheme}://{place}/items.jsonl", storage=storage))
    assert any(word in str(caught.value).lower() for word in ("authentication", "denied", "incorrect"))


def test_ftps_trusts_no_certificate_that_nobody_signed(ftps: Server) -> None:
    with pytest.raises(SinkError, match="CERTIFICATE_VERIFY_FAILED"):
        written(feed(f"{ftps.base}/items.jsonl"))
    written(feed(f"{ftps.base}/items.jsonl", storage={"verify": False}), {"n": 1})
    assert ftps.files() == {"items.jsonl": b'{"n":1}\n'}


@everywhere
def test_more_than_is_sent_at_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Longer than a piece of a multipart upload, and than what a server takes in one packet."""
    items = [{"n": n, "text": LONG} for n in range(120)]
    written(feed(f"{server.base}/items.jsonl", storage=server.storage), items[:100], *items[100:])
    assert [item["n"] for item in lines(server.files()["items.jsonl"])] == list(range(120))
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_sftp_trusts_no_server_that_is_not_known(sftp: SftpServer) -> None:
    storage = {name: value for name, value in sftp.storage.items() if name != "known_hosts"}
    with pytest.raises(SinkError, match="Host key is not trusted"):
        written(feed(f"{sftp.base}/items.jsonl", storage=storage), {"n": 1})
    assert sftp.files() == {}


def test_sftp_connects_again(sftp: SftpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "PAUSE", 0.001)
    told: list[str] = []

    async def work() -> None:
        run = LocalRun(asyncio.get_running_loop())
        run.events.on(Notice, lambda notice: told.append(notice.text))
        opened = feed(f"{sftp.base}/items.jsonl", storage=sftp.storage).open(run)
        opened.accept({"n": 1}, ID)
        sftp.hang_up()
        await opened.close()

    asyncio.run(work())
    assert sftp.files() == {"items.jsonl": b'{"n":1}\n'}
    assert all("again in" in text for text in told)
    sftp.wait_until_nobody_is_there()


def test_ftp_in_active_mode(ftp: Server) -> None:
    written(feed(f"{ftp.base}/items.jsonl", storage={"active": True}), {"n": 1})
    assert ftp.files() == {"items.jsonl": b'{"n":1}\n'}


def test_s3_wrong_credentials(s3: S3Server) -> None:
    import requests

    requests.post(f"{s3.url}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        with pytest.raises(SinkError, match=r"s3://pages/items.jsonl cannot be written: .*(Access|Token|Forbidden)"):
            written(feed("s3://pages/items.jsonl", storage={**s3.storage, "key": "nobody"}))
    finally:
        requests.post(f"{s3.url}/moto-api/reset-auth", data=b"inf", timeout=10)


@pytest.mark.parametrize("server", ["s3", "gcs", "azure"], indirect=True)
def test_a_bucket_that_is_missing(server: Server) -> None:
    scheme = server.base.partition("://")[0]
    with pytest.raises(SinkError, match=f"{scheme}://missing/items.jsonl cannot be written"):
        written(feed(f"{scheme}://missing/items.jsonl", storage=server.storage))


def test_s3_acl(s3: S3Server) -> None:
    written(feed("s3://pages/public.jsonl", storage={**s3.storage, "acl": "public-read"}), {"n": 1})
    grants = s3.client.get_object_acl(Bucket="pages", Key="public.jsonl")["Grants"]
    assert {"READ"} == {each["Permission"] for each in grants if each["Grantee"].get("URI", "").endswith("AllUsers")}


def test_a_scheme_whose_library_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    loaded: Any = importlib.import_module("fsspec.registry")
    monkeypatch.setattr(loaded, "_registry", {})
    monkeypatch.setattr(loaded, "registry", {})
    with pytest.raises(
        SinkError, match=r"abfs://c/a.jsonl cannot be written: it needs: pip install streamcrawl\[azure\]"
    ):
        written(feed("abfs://c/a.jsonl", storage={"account_name": "x"}))


def test_a_long_object_needs_no_more_pieces_than_s3_takes() -> None:
    sent: list[int] = []

    class Counting:
        def write(self, part: bytes) -> None:
            sent.append(len(part))

        def commit(self) -> None: ...
        def abort(self) -> None: ...

    upload = ObjectUpload(nullcontext, Counting(), 4)
    for _ in range(10_000):
        upload.write(bytes(20))
    upload.commit()
    assert sum(sent) == 200_000
    assert len(sent) < 10_000
    assert sent == sorted(sent[:-1]) + sent[-1:]
    assert {size % 4 for size in sent[:-1]} == {0}, "as GCS wants it"


def test_memory() -> None:
    from fsspec.implementations import memory as files  # type: ignore[import-untyped] # pyright: ignore

    memory: Any = cast("Any", files).MemoryFileSystem()
    memory.store.clear()
    written(feed("memory://out/{part}.jsonl", part_items=1), {"n": 0}, {"n": 1})
    assert {name: memory.cat_file(name) for name in memory.find("/")} == {
        "/out/1.jsonl": b'{"n":0}\n',
        "/out/2.jsonl": b'{"n":1}\n',
    }


class Kept:
    """A storage of somebody's own."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.closed = False

    def check(self, uri: str) -> None:
        if not uri.startswith("shelf:"):
            raise SinkError(f"{uri} is on no shelf")

    def put(self, path: Path, uri: str) -> None:
        self.files[uri] = path.read_bytes()

    def remove(self, uri: str) -> bool:
        return self.files.pop(uri, None) is not None

    def upload(self, uri: str) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def test_a_storage_of_ones_own() -> None:
    kept = Kept()
    kept.files["shelf://top/1.json"] = b"old"
    told: list[FeedStored] = []

    async def work() -> None:
        run = LocalRun(asyncio.get_running_loop())
        run.events.on(FeedStored, told.append)
        opened = feed("shelf://top/{part}.json", storage=kept).open(run)
        opened.accept([{"n": 0}, {"n": 1}], ID)
        await opened.close()
        assert run.stats["feedexport/success_count/SHELFFeedStorage"] == 1

    asyncio.run(work())
    assert kept.closed
    assert kept.files == {"shelf://top/1.json": b'[\n{"n":0},\n{"n":1}\n]\n'}
    assert [(each.uri, each.part, each.items, each.size) for each in told] == [("shelf://top/1.json", 1, 2, 21)]
    with pytest.raises(SinkError, match="is on no shelf"):
        written(feed("floor://top/1.json", storage=kept))


# ---- while the crawl runs

LONG = "x" * 100_000


class Site:
    """Pages one after the other, each a virtual or a real moment later."""

    def __init__(self, pages: int) -> None:
        self.pages = pages

    async def fetch(self, request: Request) -> Response:
        return Response(request.url, request=request)

    def parse(self, page: Any) -> Iterator[Any]:
        n = int(page.url.rpartition("/")[2])
        yield from ({"n": n, "k": k, "text": LONG} for k in range(10))
        if n + 1 < self.pages:
            yield page.follow(f"/{n + 1}")


def test_an_object_is_uploaded_while_the_crawl_runs(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces, of what no kill can take back any more; it is there when the last one is."""
    monkeypatch.setattr(settling, "EVERY", 0.1)
    monkeypatch.setattr(storing, "BLOCK", 1 << 20)
    sent: list[int] = []
    finished: list[int] = []
    growing = storing.Growing

    def send(self: Any) -> None:
        block(self)
        sent.append(self._sent)
        assert self._sent <= self._end
        assert s3.files() == {}

    def finish(self: Any) -> None:
        finished.append(self._sent)
        assert s3.uploads()
        end(self)

    block, end = growing._send_block, growing._finish  # pyright: ignore[reportPrivateUsage] # to look on
    monkeypatch.setattr(growing, "_send_block", send)
    monkeypatch.setattr(growing, "_finish", finish)
    site = Site(20)

    async def main() -> Any:
        async def slowly(request: Request) -> Response:
            await asyncio.sleep(0.05)
            return await site.fetch(request)

        crawl = Crawl("http://a.test/0").pipe(
            ops.download(fetch=slowly), ops.scrape(site.parse), feed("s3://pages/items.jsonl", storage=s3.storage)
        )
        return await crawl.start()

    assert asyncio.run(main()).error is None
    assert sent[0] == 1 << 20
    assert finished[0] >= 6 << 20, "more than a piece is there before the end"
    assert s3.uploads() == []
    assert len(lines(s3.files()["items.jsonl"])) == 200


def test_what_a_killed_run_left_of_an_upload_is_let_go(s3: S3Server) -> None:
    for key in ("items.jsonl", "other.jsonl"):
        s3.client.create_multipart_upload(Bucket="pages", Key=key)
    written(feed("s3://pages/items.jsonl", storage=s3.storage), *({"n": n, "text": LONG} for n in range(100)))
    assert len(lines(s3.files()["items.jsonl"])) == 100
    assert [each["Key"] for each in s3.uploads()] == ["other.jsonl"]


@pytest.mark.timeout(240)
def test_a_server_that_dies_in_the_middle_of_an_upload(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it is never shown; the job keeps everything, and goes on when the server is there again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settling, "EVERY", 0.1)
    monkeypatch.setattr(storing, "BLOCK", 1 << 20)
    monkeypatch.setattr(storing, "PAUSE", 0.01)
    monkeypatch.setattr(storing, "TRIES", 2)
    block = storing.Growing._send_block  # pyright: ignore[reportPrivateUsage] # to know when
    dead = False

    def dying(self: Any) -> None:
        nonlocal dead
        block(self)
        if not dead:
            dead = True
            s3.stop()

    monkeypatch.setattr(storing.Growing, "_send_block", dying)
    site = Site(20)
    crawl = Crawl("http://a.test/0", job="job").pipe(
        ops.download(*ops.default_layers(robots_txt=None), fetch=slow(site)),
        ops.scrape(site.parse),
        feed("s3://pages/items.jsonl", storage=s3.storage),
    )

    async def main() -> Any:
        return await crawl.start()

    error = asyncio.run(main()).error
    assert dead
    assert isinstance(error, SinkError)
    assert str(error).endswith("what is not stored is in the job: the same command goes on")
    s3.start()
    assert s3.files() == {}
    assert asyncio.run(main()).error is None
    found = [(item["n"], item["k"]) for item in lines(s3.files()["items.jsonl"])]
    assert sorted(found) == [(n, k) for n in range(20) for k in range(10)]
    assert s3.uploads() == []


def slow(site: Site) -> Any:
    async def fetch(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return await site.fetch(request)

    return fetch
