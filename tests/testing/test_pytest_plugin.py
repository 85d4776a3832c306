"""The fixture `cassette`, in test runs of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl.testing.site import Arrival, Reply, serve

Run = Callable[..., "subprocess.CompletedProcess[str]"]

TESTS = """
import pytest
from streamcrawl import Crawl, operators as ops

def parse(page):
    yield {{"url": page.url, "size": len(page.body)}}
    yield from page.follow_all(css="a")

crawl = Crawl("{url}/", delay=0.3).pipe(ops.download(), ops.scrape(parse))

def test_all(cassette):
    assert len(cassette.collect(crawl)) == 3

def test_twice(cassette):
    first = cassette.collect(crawl)
    assert cassette.collect(crawl) == first
    summary = cassette.run(lambda: waited(cassette(crawl)))
    assert summary.pages == 3

async def waited(crawl):
    return await crawl.start()

@pytest.mark.cassette("shared.cassette", latency="recorded", redact=())
@pytest.mark.parametrize("path", ["/", "a b"])
def test_named(cassette, path):
    made = Crawl("{url}/").pipe(ops.download(fetch=cassette), ops.scrape(parse))
    assert len(cassette.collect(made)) == 3
"""


@pytest.fixture
def tested(tmp_path: Path) -> Run:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "conftest.py").write_text('pytest_plugins = ["streamcrawl.testing.pytest_plugin"]\n')
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--strict-markers")
        # No plugin but this one: most take long to import.
        alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(
            (*command, "--rootdir", str(tmp_path), *options, str(tmp_path / "test_shop.py")),
            cwd=tmp_path,
            env=alone,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


def shop(arrival: Arrival) -> Reply:
    names = {"/": '<a href="/a">a</a>', "/a": '<a href="/b">b</a>', "/b": "b"}
    return names.get(arrival.path, 404)


def test_recorded_once_and_replayed(tested: Run, tmp_path: Path) -> None:
    with serve(shop) as site:
        (tmp_path / "test_shop.py").write_text(TESTS.format(url=site.url))
        done = tested()
        assert done.returncode == 1
        assert "there is no cassette" in done.stdout
        assert "record it with --cassettes=record" in done.stdout
        assert site.served == 0
        done = tested("--cassettes=record")
        assert done.returncode == 0, done.stdout
        assert site.count("/b") == 4, "once for each of the tests"
    folder = tmp_path / "cassettes"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.cassette")} == {
        "test_shop/test_all.cassette",
        "test_shop/test_twice.cassette",
        "shared.cassette",
    }
    before = {path: path.read_bytes() for path in folder.rglob("*.cassette")}
    done = tested()
    assert done.returncode == 0, done.stdout
    assert re.search(r"4 passed in [0-3]\.", done.stdout), "in virtual time"
    assert {path: path.read_bytes() for path in folder.rglob("*.cassette")} == before


def test_what_is_missing_fails_the_test_and_is_added_if_asked(tested: Run, tmp_path: Path) -> None:
    with serve(shop) as site:
        text = TESTS.format(url=site.url).partition("def test_twice")[0]
        (tmp_path / "test_shop.py").write_text(
            text.replace('yield from page.follow_all(css="a")', "").replace("== 3", "< 4")
        )
        assert tested("--cassettes=record").returncode == 0
        (tmp_path / "test_shop.py").write_text(text.replace("== 3", "< 4"))
        done = tested()
        assert done.returncode == 1
        assert f"GET {site.url}/a is not in the cassette" in done.stdout
        assert "--cassettes=new adds what is missing" in done.stdout
        assert tested("--cassettes=new").returncode == 0
        assert site.count("/") == 1
    (tmp_path / "test_shop.py").write_text(text)
    done = tested()
    assert done.returncode == 0, done.stdout
