"""`streamcrawl fetch`: one page on stdout, or one line on stderr."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl.testing.site import Answer, Arrival, Reply, serve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_body_as_it_is(cli: Cli, folder: Path) -> None:
    text = "<p>Grüße\n</p>"
    packed = Answer(gzip.compress(text.encode()), headers={"Content-Encoding": "gzip", "Content-Type": "text/html"})
    with serve({"/": packed, "/robots.txt": "User-agent: *\nDisallow: /"}) as site:
        done = cli("fetch", site.url + "/")
        assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
        assert site.count("/robots.txt") == 0
    (folder / "page.html").write_text(text, encoding="utf-8")
    assert cli("fetch", (folder / "page.html").as_uri()).stdout == text
    assert cli("fetch", "data:,hello").stdout == "hello"


def test_status_and_headers(cli: Cli) -> None:
    with serve({"/": Answer("hello", headers=[("X-One", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])}) as site:
        done = cli("fetch", "--headers", site.url + "/")
    assert done.returncode == 0
    first, *fields = done.stdout.splitlines()
    assert first == "HTTP/1.1 200 OK"
    assert [field for field in fields if field.startswith(("X-One", "Set-Cookie"))] == [
        "X-One: 1",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
    ]


def test_redirects_lead_to_other_hosts_too_and_keep_cookies(cli: Cli) -> None:
    def home(arrival: Arrival) -> Reply:
        cookie = Answer(status=302, headers={"Location": "/in", "Set-Cookie": "in=1"})
        return f"welcome {arrival.cookies['in']}" if "in" in arrival.cookies else cookie

    with (
        serve(home, host="127.0.0.2") as there,
        serve({"/": Answer(status=301, headers={"Location": there.url})}) as here,
    ):
        done = cli("fetch", here.url)
    assert (done.returncode, done.stdout) == (0, "welcome 1")


def test_an_error_status_is_a_failure_with_its_body(cli: Cli) -> None:
    with serve({"/": Answer("it is gone", status=410)}) as site:
        done = cli("fetch", site.url)
        assert (done.returncode, done.stdout) == (1, "it is gone")
        assert done.stderr == f"error: {site.url}/: HTTP status 410 Gone\n"
        done = cli("fetch", "--headers", site.url)
        assert done.returncode == 1
        assert done.stdout.startswith("HTTP/1.1 410 Gone\n")


def refused() -> str:
    with serve({}) as site:
        return site.url + "/"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://nowhere.invalid/", "nowhere.invalid"),
        ("gopher://127.0.0.1/", "no transport for the scheme 'gopher'"),
        ("file:///no/such/file", "/no/such/file"),
        (refused, "Connection refused"),
    ],
)
def test_a_failure_is_one_line(url: str | Callable[[], str], words: str, cli: Cli) -> None:
    address = url if isinstance(url, str) else url()
    done = cli("fetch", address)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert address in line
    assert words in line


@pytest.mark.parametrize("url", ["example.com", "/index.html", "http://"])
def test_no_absolute_url_is_wrong_usage(url: str, cli: Cli) -> None:
    done = cli("fetch", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: invalid URL '{url}': ")


def test_header_fields_of_ones_own(cli: Cli) -> None:
    with serve({"/": lambda arrival: f"{arrival.headers['accept-language']} {arrival.headers['x-a']}"}) as site:
        done = cli("fetch", "-H", "Accept-Language: de", "-H", "X-A:1: 2", f"{site.url}/")
    assert (done.returncode, done.stdout) == (0, "de 1: 2")
    for field in ("nothing", ": x", "a b: c"):
        done = cli("fetch", "-H", field, "data:,x")
        assert done.returncode == 2
        assert done.stderr.endswith(f"argument -H: {field!r} is no header field: 'Name: value'\n")


def test_a_redirect_that_is_not_followed(cli: Cli) -> None:
    with serve({"/": Answer("over there", status=302, headers={"Location": "/x"})}) as site:
        done = cli("fetch", "--no-redirect", "--headers", f"{site.url}/")
        assert done.returncode == 0
        assert done.stdout.startswith("HTTP/1.1 302 Found\n")
        assert site.count("/x") == 0
