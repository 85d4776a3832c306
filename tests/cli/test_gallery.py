"""`streamcrawl gallery`: a page of what a store holds."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from store_servers import s3_server

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.testing.site import DemoSite

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pictures(folder: Path) -> Path:
    """The pictures of three products of the demo shop."""

    def parse(page: Response) -> object:
        return {"image_urls": [page.urljoin(src) for src in page.css("img::attr(src)").getall()]}

    with DemoSite() as shop:
        start = [f"{shop.url}/product/{number}" for number in (1, 2, 3)]
        sink = ops.images(folder / "pictures", thumbs={"small": (50, 50)})
        asyncio.run(Crawl(start).pipe(ops.download(), ops.scrape(parse), sink).collect())
    return folder / "pictures"


def sources(text: str) -> list[str]:
    return [unquote(each) for each in re.findall(r'<img [^>]*src="([^"]+)"', text)]


def test_a_page_in_the_folder(cli: Cli, pictures: Path) -> None:
    done = cli("gallery", "pictures")
    assert (done.returncode, done.stdout, done.stderr) == (0, "pictures/gallery.html: 5 files\n", "")
    text = (pictures / "gallery.html").read_text()
    shown = sources(text)
    assert len(shown) == 5
    assert all((pictures / each).exists() and each.startswith("./thumbs/small/") for each in shown)
    assert text.count("160 × 120") == 5
    assert text.count('<a class="source" rel="noreferrer noopener" title="http://127.0.0.1:') == 5
    assert "<h1>pictures</h1>" in text
    assert "<script" not in text
    again = cli("gallery", "pictures")
    assert again.stdout == done.stdout, "the page is none of the files"


def test_a_page_elsewhere_and_few_of_them(cli: Cli, folder: Path, pictures: Path) -> None:
    (folder / "out").mkdir()
    done = cli("gallery", "file:pictures", "-O", "out/page.html", "--limit", "2", "--title", "A <shop>")
    assert (done.returncode, done.stdout) == (0, "out/page.html: 2 of 5 files\n")
    text = (folder / "out" / "page.html").read_text()
    assert "<h1>A &lt;shop&gt;</h1>" in text
    assert "the newest 2 of 5 files" in text
    assert len(sources(text)) == 2
    assert all((folder / "out" / each).exists() for each in sources(text))


def test_a_page_with_everything_in_it(cli: Cli, folder: Path, pictures: Path) -> None:
    done = cli("gallery", "pictures", "--embed", "-O", "one.html")
    assert done.returncode == 0
    assert all(each.startswith("data:image/jpeg;base64,") for each in sources((folder / "one.html").read_text()))


def test_an_object_store(cli: Cli, folder: Path) -> None:
    with s3_server("shop") as server:
        server.client.put_object(Bucket="shop", Key="a/full/x.pdf", Body=b"%PDF")
        options = [f"{name}={value}" for name, value in server.storage.items()]
        arguments = [each for option in options for each in ("--storage", option)]
        done = cli("gallery", "s3://shop/a", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "gallery.html: 1 file\n", "")
        assert f'href="{server.url}/shop/a/full/x.pdf"' in (folder / "gallery.html").read_text()


def test_wrong_usage(cli: Cli, pictures: Path) -> None:
    for arguments, line in (
        (("nothing",), "error: nothing: no such folder\n"),
        (("pictures", "--limit", "0"), "error: --limit 0: 1 or more\n"),
        (("pictures", "--storage", "key"), "error: --storage key: NAME=VALUE\n"),
        (("pictures", "-O", "missing/page.html"), "error: missing/page.html: No such file or directory\n"),
    ):
        done = cli("gallery", *arguments)
        assert (done.returncode, done.stderr) == (2, line)
    done = cli("gallery", "nosuch://x")
    assert (done.returncode, done.stderr) == (1, "error: store nosuch://x: Protocol not known: nosuch\n")
