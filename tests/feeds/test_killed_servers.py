"""Feeds on servers of every kind, whose crawl is killed again and again."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import pytest

from feeds.killed_crawl import ITEMS, PAGES, PART, crawl
from feeds.servers import S3Server, Server

# What is forked from has loaded everything already, so that a crawl is killed within its work, not within its imports.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["feeds.killed_crawl", "s3fs", "gcsfs.core", "sshfs", "streamcrawl.storage.ftp_store"])
EXPECTED = Counter((page, k) for page in range(PAGES) for k in range(ITEMS))
KILLS = 6


def killed_after(seconds: float, folder: Path, servers: list[Server]) -> bool | str | None:
    """True: it was killed, so long after it had begun; else what its error was."""
    ours, its = CONTEXT.Pipe()
    places = [(server.base, server.storage) for server in servers]
    process = CONTEXT.Process(target=crawl, args=(str(folder), places, its))
    process.start()
    its.close()
    try:
        assert ours.recv() == "it has begun"
        if not ours.poll(seconds):
            return True
        error: str | None = ours.recv()
        return error
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def found(items: Iterable[dict[str, Any]]) -> Counter[tuple[int, int]]:
    return Counter((item["page"], item["k"]) for item in items)


def parts_of(files: dict[str, bytes]) -> list[list[dict[str, Any]]]:
    """Those that readers are shown, each of which can be read."""
    names = sorted(name for name in files if name.startswith("parts/") and not name.startswith("parts/."))
    assert names == [f"parts/{n:03}.json.gz" for n in range(1, len(names) + 1)]
    return [json.loads(gzip.decompress(files[name])) for name in names]


@pytest.mark.timeout(120)
def test_nothing_is_lost_or_doubled_or_seen_by_half(
    s3: S3Server, gcs: Server, azure: Server, ftp: Server, ftps: Server, sftp: Server, tmp_path: Path
) -> None:
    servers: list[Server] = [s3, gcs, azure, ftp, ftps, sftp]
    folder = tmp_path / "crawl"
    folder.mkdir()
    random = Random(11)
    kills = 0
    while True:
        result = killed_after(random.uniform(0.1, 1.2) if kills < KILLS else 60, folder, servers)
        if result is not True:
            break
        kills += 1
        for server in servers:
            files = server.files()
            # It may have been killed between its last file and its last word.
            shown = files.get("whole.jsonl")
            assert shown is None or found(map(json.loads, shown.splitlines())) == EXPECTED
            assert all(len(part) == PART for part in parts_of(files))
    assert result is None
    assert kills >= 3, "it was hardly ever killed within the crawl"
    for server in servers:
        files = server.files()
        assert found(map(json.loads, files["whole.jsonl"].splitlines())) == EXPECTED, server.base
        parts = parts_of(files)
        assert [len(part) for part in parts] == [PART] * (len(EXPECTED) // PART)
        assert found(item for part in parts for item in part) == EXPECTED, server.base
    assert s3.uploads() == []
