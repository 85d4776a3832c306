"""Sitemaps as files: kinds, faults, entities, gzip, and memory."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.errors import BodyTooLarge, DecodeError
from streamcrawl.spiders.sitemaps import LONGEST_ENTRY, NotASitemap, Sitemap, amended, spooled

NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def entries(body: bytes | str) -> list[dict[str, Any]]:
    return list(Sitemap(io.BytesIO(body.encode() if isinstance(body, str) else body)))


def kind(body: bytes | str) -> str:
    return Sitemap(io.BytesIO(body.encode() if isinstance(body, str) else body)).type


def locs(body: bytes | str) -> list[str]:
    return [entry["loc"] for entry in entries(body)]


def test_an_entry_has_what_the_protocol_says() -> None:
    body = f"""<?xml version="1.0" encoding="UTF-8"?>
    <urlset {NS} xmlns:xhtml="http://www.w3.org/1999/xhtml" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
      <!-- a comment --> <?pi x?>
      <url>
        <loc> http://a.test/1?a=1&amp;b=2 </loc><lastmod>2024-01-01</lastmod>
        <changefreq>daily</changefreq><priority>0.8</priority>
        <image:image><image:loc>http://a.test/1.png</image:loc></image:image>
        <xhtml:link rel="alternate" hreflang="de" href="http://a.test/de/1"/>
        <xhtml:link rel="alternate" hreflang="fr" href="http://a.test/fr/1"/>
      </url>
      <url><loc><![CDATA[http://a.test/2?a=1&b=2]]></loc></url>
      <url><lastmod>2024-01-01</lastmod></url>
    </urlset>"""
    assert kind(body) == "urlset"
    assert entries(body) == [
        {
            "loc": "http://a.test/1?a=1&b=2",
            "lastmod": "2024-01-01",
            "changefreq": "daily",
            "priority": "0.8",
            "alternate": ["http://a.test/de/1", "http://a.test/fr/1"],
        },
        {"loc": "http://a.test/2?a=1&b=2"},
    ]


RSS = """<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel><link>http://a.test/</link>
  <atom:link rel="self" href="http://a.test/rss"/>
  <item><title>T</title><link>http://a.test/1</link><pubDate>Mon, 01 Jan 2024 00:00:00 GMT</pubDate></item>
  <item><guid>http://a.test/2</guid></item><item><guid isPermaLink="false">http://a.test/no</guid></item>
  </channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><link href="http://a.test/"/>
  <entry><link rel="edit" href="http://a.test/edit"/><link href="http://a.test/1"/><updated>2024-01-01</updated></entry>
  </feed>"""


def test_feeds_are_sitemaps_too() -> None:
    assert (kind(RSS), kind(ATOM)) == ("feed", "feed")
    assert entries(RSS) == [
        {"loc": "http://a.test/1", "lastmod": "Mon, 01 Jan 2024 00:00:00 GMT"},
        {"loc": "http://a.test/2"},
    ]
    assert entries(ATOM) == [{"loc": "http://a.test/1", "lastmod": "2024-01-01"}]


def test_an_index_and_plain_text() -> None:
    index = f"<s:sitemapindex {NS.replace('xmlns', 'xmlns:s')}><s:sitemap><s:loc>http://a.test/s</s:loc></s:sitemap>"
    assert kind(index) == "sitemapindex"
    assert locs(index + "</s:sitemapindex>") == ["http://a.test/s"]
    text = "\ufeffhttp://a.test/1\r\n\r\n  http://a.test/ä\nno address\n".encode()
    assert kind(text) == "text"
    assert locs(text) == ["http://a.test/1", "http://a.test/ä"]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "  \n",
        "<!DOCTYPE html><html><body><a href='http://a.test/'>x</a></body></html>",
        "<!-- <urlset> --><html/>",
        "Not found",
        "<",
        "\0\0\0",
    ],
)
def test_what_is_no_sitemap(body: str) -> None:
    assert kind(body) == ""
    assert entries(body) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"])
def test_encodings(encoding: str) -> None:
    named = encoding.removesuffix("-sig").upper()
    body = f'<?xml version="1.0" encoding="{named}"?><urlset {NS}><url><loc>http://a.test/\xe4?a&amp;b</loc></url></urlset>'
    assert locs(body.encode(encoding)) == ["http://a.test/\xe4?a&b"]


def test_common_faults_are_read_over() -> None:
    body = f'\n\n <?xml version="1.0"?>\n<urlset {NS}><url><loc>http://a.test/?a=1&b=2&#38;c&lt;</loc></url>'
    sitemap = Sitemap(io.BytesIO(body.encode()))
    assert [entry["loc"] for entry in sitemap] == ["http://a.test/?a=1&b=2&c<"]
    assert sitemap.broken  # it has no end
    whole = Sitemap(io.BytesIO(f"<urlset {NS}></urlset>".encode()))
    assert list(whole) == []
    assert not whole.broken


@given(
    st.lists(st.sampled_from(["&", "&amp;", "<![CDATA[", "]]>", "]]", "]", "<a>", "x" * 50, "#38;"]), max_size=30),
    st.data(),
)
def test_bare_ampersands_wherever_the_pieces_are_cut(parts: list[str], data: st.DataObject) -> None:
    whole = "<r>" + "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b].encode() for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert b"".join(amended([whole.encode()])) == b"".join(amended(pieces))


def test_the_end_of_a_literal_section_is_seen_wherever_it_stands_in_its_piece() -> None:
    whole = b"<r><![CDATA[a]]>&" + b"x" * 60
    assert {b"".join(amended([whole[:cut], whole[cut:]])) for cut in range(len(whole) + 1)} == {
        whole.replace(b"&", b"&amp;")
    }


def test_no_entity_is_resolved_and_nothing_is_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("http://secret.test/")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        body = f"""<?xml version="1.0"?><!DOCTYPE urlset [
          <!ENTITY text "http://text.test/"> <!ENTITY file SYSTEM "file://{secret}">
          <!ENTITY web SYSTEM "http://127.0.0.1:{port}/x"> <!ENTITY % dtd SYSTEM "http://127.0.0.1:{port}/x.dtd"> ]>
          <urlset {NS}><url><loc>&file;</loc></url><url><loc>&text;</loc></url><url><loc>&web;</loc></url>
          <url><loc>http://a.test/</loc></url></urlset>"""
        assert locs(body) == ["http://a.test/"]
        assert locs(body.replace("]>", "%dtd; ]>")) in ([], ["http://a.test/"])
        with pytest.raises(BlockingIOError):
            server.accept()


def test_entities_within_entities_end_the_reading() -> None:
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    body = f'<!DOCTYPE urlset [<!ENTITY l0 "lol">{lol}]><urlset {NS}><url><loc>&l9;</loc></url></urlset>'
    sitemap = Sitemap(io.BytesIO(body.encode()))
    assert list(sitemap) == []
    assert sitemap.broken


def test_an_entry_without_end_is_broken_off() -> None:
    body = f"<urlset {NS}><url><loc>http://a.test/1</loc></url><url>" + "<a/>" * LONGEST_ENTRY
    sitemap = iter(Sitemap(io.BytesIO(body.encode()), "http://a.test/s.xml"))
    assert next(sitemap) == {"loc": "http://a.test/1"}
    with pytest.raises(NotASitemap, match=r"http://a\.test/s\.xml: \d+ bytes without an entry"):
        next(sitemap)


@given(st.binary(max_size=300) | st.text(alphabet="<>urlset/loc&;![]CDA? \n", max_size=300).map(str.encode))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    for prefix in (b"", b"<urlset>", b"<urlset><url><loc>", b"<rss><item>"):
        assert isinstance(entries(prefix + body), list)


# -- the body as it comes ---------------------------------------------------------------------------------------------


async def chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def read(body: bytes, *, limit: int = 1_000_000, size: int = 7) -> bytes:
    async def main() -> bytes:
        with await spooled(chunks(body, size), "http://a.test/s.xml.gz", limit) as file:
            return file.read()

    return asyncio.run(main())


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_gzip_is_undone_in_any_pieces(size: int) -> None:
    text = b"<urlset/>" * 1000
    assert read(text, size=size) == text
    assert read(gzip.compress(text), size=size) == text
    assert read(gzip.compress(text[:5000]) + gzip.compress(text[5000:]), size=size) == text
    assert read(b"", size=size) == b""
    assert read(b"<", size=size) == b"<"


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLarge, match="over the limit of 1000000 bytes"):
        read(bomb, size=1 << 16)
    with pytest.raises(BodyTooLarge):
        read(b"x" * 1001, limit=1000)
    assert len(read(b"x" * 1000, limit=1000)) == 1000


def test_gzip_that_is_damaged_or_cut() -> None:
    packed = gzip.compress(b"<urlset/>" * 1000)
    with pytest.raises(DecodeError):
        read(packed[:10] + b"\xff" * 30)
    assert read(packed[:-12]).startswith(b"<urlset/>")
