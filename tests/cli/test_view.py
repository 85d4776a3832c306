"""`streamcrawl view`: the page in a file, as the crawler sees it."""

from __future__ import annotations

import subprocess
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl import Headers, Response
from streamcrawl.cli import view
from streamcrawl.cli.main import main
from streamcrawl.testing.site import Answer, serve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
URL = "https://shop.example/dir/page"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that stay, stay here."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def shown(body: str | bytes, kind: str = "text/html; charset=utf-8") -> str:
    data = body.encode() if isinstance(body, str) else body
    return view.saved(Response(URL, 200, Headers({"Content-Type": kind}), data)).read_text("utf-8-sig")


ADDED = f'<base href="{URL}">{view.NO_SCRIPTS}'


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<h1>Hi</h1>", "{}<h1>Hi</h1>"),
        ("<html><head><title>x", "{}<html><head><title>x"),
        ("<!DOCTYPE html><html>", "<!DOCTYPE html>{}<html>"),
        (
            " <!-- a --> \n<!-- <head> --><!doctype html PUBLIC 'x'>\n<p>",
            " <!-- a --> \n<!-- <head> --><!doctype html PUBLIC 'x'>{}\n<p>",
        ),
        ("<!-- without an end <html>", "{}<!-- without an end <html>"),
        ("<!doctype", "{}<!doctype"),
        ("", "{}"),
        ("<!-- <head> --><p>", "{}<!-- <head> --><p>"),
    ],
)
def test_where_the_base_is_put(page: str, expected: str) -> None:
    assert shown(page) == expected.format(ADDED)


def test_links_and_pictures_are_where_the_page_has_them() -> None:
    text = shown("<!doctype html><html><head></head><body><img src='a.png'><a href='/b'>b</a>")
    saved = Response("file:///saved/page.html", 200, Headers({"Content-Type": "text/html"}), text.encode())
    assert [link.url for link in saved.follow_all(css="img, a")] == [
        "https://shop.example/dir/a.png",
        "https://shop.example/b",
    ]


def test_a_base_of_the_pages_own_is_kept() -> None:
    text = shown('<head><base href="/other/?a=1&amp;b=2"></head>')
    assert text.startswith('<base href="https://shop.example/other/?a=1&amp;b=2">')


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<p>Grüße".encode("latin-1"), "text/html; charset=latin-1"),
        ('<meta charset="windows-1252"><p>Grüße'.encode("cp1252"), "text/html"),
        ("<p>Grüße".encode("utf-16"), "text/html; charset=utf-16"),
    ],
)
def test_characters_are_those_that_the_crawler_sees(body: bytes, kind: str) -> None:
    path = view.saved(Response(URL, 200, Headers({"Content-Type": kind}), body))
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert path.read_text("utf-8-sig").endswith("<p>Grüße")


@pytest.mark.parametrize(
    ("kind", "body", "name"),
    [
        ("text/html", b"<p>", "page.html"),
        ("application/json", b'{"a": 1}', "page.json"),
        ("application/xml", b"<a/>", "page.xml"),
        ("text/css", b"a {}", "page.txt"),
        ("image/png", b"\x89PNG", "page.png"),
        ("image/svg+xml", b"<svg/>", "page.svg"),
        ("application/pdf", b"%PDF", "page.pdf"),
    ],
)
def test_what_is_no_page_is_left_as_it_is(kind: str, body: bytes, name: str) -> None:
    path = view.saved(Response(URL, 200, Headers({"Content-Type": kind}), body))
    assert path.name == name
    assert kind == "text/html" or path.read_bytes() == body


def test_ten_megabytes_of_comments_take_no_time() -> None:
    assert view.after_doctype("<!--x-->" * 1_000_000 + "<!doctype html>") == 8_000_015
    assert view.after_doctype("<!-- " * 1_000_000) == 0


def test_the_path_is_printed(cli: Cli) -> None:
    with serve({"/": Answer("<h1>Hi</h1>", headers={"Content-Type": "text/html"})}) as site:
        done = cli("view", "--no-browser", f"{site.url}/")
    assert (done.returncode, done.stderr) == (0, "")
    path = Path(done.stdout.strip())
    assert path.read_text("utf-8-sig") == f'<base href="{site.url}/">{view.NO_SCRIPTS}<h1>Hi</h1>'


def test_the_browser_is_opened(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return len(opened) == 1

    monkeypatch.setattr(webbrowser, "open", browse)
    with serve({"/": "<h1>Hi</h1>"}) as site:
        assert main(["view", f"{site.url}/"]) == 0
    (url,) = opened
    assert url.startswith("file:///")
    assert "<h1>Hi</h1>" in Path(url.removeprefix("file://")).read_text()
    assert main(["view", "data:text/html,hello"]) == 1
    assert "error: no browser could be opened; the page is in /" in capsys.readouterr().err


def test_what_does_not_come_is_one_line(cli: Cli) -> None:
    done = cli("view", "file:///no/such/file")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    done = cli("view", "example.com")
    assert (done.returncode, done.stdout) == (2, "")
    with serve({"/": Answer("gone", status=410)}) as site:
        done = cli("view", "--no-browser", f"{site.url}/")
    assert (done.returncode, done.stderr) == (1, f"error: {site.url}/: HTTP status 410 Gone\n")
    assert Path(done.stdout.strip()).exists()
