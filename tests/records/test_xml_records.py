"""XML feeds: which elements are records, in whichever pieces they come, and what ends a feed."""

from __future__ import annotations

import asyncio
import gzip
import resource
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsel import Selector

from streamcrawl import Headers, Response
from streamcrawl.errors import BodyTooLarge, TruncatedBody
from streamcrawl.records import BrokenFeed, xml_records

URL = "http://feeds.test/all.xml"


class Pieces:
    """A streamed body in pieces of so many bytes, which may break off."""

    def __init__(self, body: bytes, size: int, error: Exception | None = None) -> None:
        self._body = body
        self._size = size
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._body), self._size):
            yield self._body[at : at + self._size]
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None: ...


def page(body: bytes, size: int | None = None, media: str = "text/xml", error: Exception | None = None) -> Response:
    headers = Headers({"Content-Type": media})
    if size is None:
        return Response(URL, headers=headers, body=body)
    stream: Any = Pieces(body, size, error)
    return Response(URL, headers=headers, stream=stream)


def texts(feed: Response, tag: str = "item", **options: Any) -> tuple[list[str], str]:
    """The text of each record, and the error that ended the feed."""
    found: list[str] = []

    async def read() -> None:
        async for record in xml_records(feed, tag, **options):
            found.append(record.xpath("string()").get(""))  # noqa: PERF401 - those before an error count

    try:
        asyncio.run(read())
    except (BrokenFeed, BodyTooLarge, TruncatedBody) as error:
        return found, str(error)
    return found, ""


SPACES = b"""<feed xmlns="urn:main" xmlns:m="urn:media"><item>1</item><m:item>2</m:item>
    <x:item xmlns:x="urn:main">3</x:item><item xmlns="">4</item></feed>"""


@pytest.mark.parametrize(
    ("tag", "namespaces", "expected"),
    [
        ("item", (), ["1", "4"]),
        ("m:item", (), ["2"]),
        ("z:item", {"z": "urn:media"}, ["2"]),
        ("z:item", [("z", "urn:main")], ["1", "3"]),
        ("{urn:main}item", (), ["1", "3"]),
        ("{*}item", (), ["1", "2", "3", "4"]),
        ("{}item", (), ["4"]),
        ("other", (), []),
        ("feed", (), ["12\n    34"]),
    ],
)
def test_which_elements_are_records(tag: str, namespaces: Any, expected: list[str]) -> None:
    assert texts(page(SPACES), tag, namespaces=namespaces) == (expected, "")
    assert texts(page(SPACES, 1), tag, namespaces=namespaces) == (expected, "")


@pytest.mark.parametrize("tag", ["", "a b", "<item>", "a:b:c", "{urn:a", "&"])
def test_a_tag_that_is_no_name_is_told_at_once(tag: str) -> None:
    with pytest.raises(ValueError, match="the name of an element"):
        xml_records(page(b""), tag)


def test_other_arguments_are_checked_at_once() -> None:
    with pytest.raises(ValueError, match="max_record=0"):
        xml_records(page(b""), "item", max_record=0)
    with pytest.raises(ValueError, match="encoding='hex'"):
        xml_records(page(b""), "item", encoding="hex")


def test_a_record_is_a_document_of_its_own_and_may_be_kept() -> None:
    body = b"""<r xmlns:m='urn:m'><title>feed</title>
        <item id='1'><m:t>a</m:t></item> tail <item id='2'><m:t>b</m:t></item></r>"""

    async def read() -> list[Selector]:
        return [record async for record in xml_records(page(body), "item", namespaces={"q": "urn:m"})]

    kept = asyncio.run(read())
    assert [record.xpath("//q:t/text()").getall() for record in kept] == [["a"], ["b"]]
    assert [record.attrib["id"] for record in kept] == ["1", "2"]
    assert kept[0].xpath("//title").getall() == kept[0].xpath("..").getall() == []
    assert kept[0].get() == '<item xmlns:m="urn:m" id="1"><m:t>a</m:t></item>'


def test_a_record_within_a_record_comes_first_and_stays_in_it() -> None:
    assert texts(page(b"<r><item>a<item>b</item>c</item><item>d</item></r>")) == (["b", "abc", "d"], "")
    assert texts(page(b"<item>a<item>b</item></item>", 3)) == (["b", "ab"], "")


TEXT = "<r><item>ä€ 𝄞 &amp; &lt;</item><!-- c --><item><![CDATA[ & <b> ]]></item><item/></r>"
WANTED = ["ä€ 𝄞 & <", " & <b> ", ""]


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (TEXT.encode(), "text/xml"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "text/xml; charset=iso-8859-1"),
        (TEXT.encode("utf-16"), "text/xml"),
        (TEXT.encode("utf-16-be"), "text/xml; charset=utf-16be"),
        (f'<?xml version="1.0" encoding="UTF-16"?>{TEXT}'.encode("utf-16-le"), "application/xml"),
        (f'<?xml version="1.0" encoding="UTF-16"?>{TEXT}'.encode(), "application/xml"),
        (f"<?xml version='1.0' encoding='gb18030'?>{TEXT}".encode("gb18030"), "application/xml"),
        (gzip.compress(TEXT.encode(), mtime=0), "application/gzip"),
        (
            gzip.compress(TEXT.encode()[:30], mtime=0) + gzip.compress(TEXT.encode()[30:], mtime=0),
            "application/octet-stream",
        ),
    ],
)
@pytest.mark.parametrize("size", [None, 1, 7, 4096])
def test_encodings_and_gzip(body: bytes, media: str, size: int | None) -> None:
    assert texts(page(body, size, media)) == (WANTED, "")


def test_an_encoding_that_is_known_better_and_one_that_nobody_says() -> None:
    latin = "<?xml version='1.0' encoding='utf-8'?><r><item>ä</item></r>".encode("latin-1")
    assert texts(page(latin), encoding="latin1") == (["ä"], "")
    assert texts(page(latin)) == (["\ufffd"], "")  # it says that it is UTF-8
    assert texts(page(b"<r>" + b" " * 2000 + "<item>ä</item></r>".encode("cp1252"))) == (["ä"], "")


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))),
    st.integers(1, 50),
)
@settings(deadline=None, max_examples=60)
def test_however_it_is_cut_the_records_are_the_same(values: list[str], size: int) -> None:
    from xml.sax.saxutils import escape

    body = "".join(f"<n><item>{escape(value)}</item>\n</n>x" for value in values)
    assert texts(page(f"<r>{body}</r>".encode(), size)) == (values, "")


@given(st.binary(max_size=200), st.integers(1, 20))
@settings(deadline=None, max_examples=100)
def test_anything_at_all_gives_records_or_a_broken_feed(junk: bytes, size: int) -> None:
    found, error = texts(page(b"<r><item>1</item>" + junk, size))
    assert found[:1] == ["1"] or not found
    assert error.startswith(URL)  # the root has no end in any case


@pytest.mark.parametrize(
    ("body", "records", "why"),
    [
        (b"", [], "empty"),
        (b"not XML", [], "'<' not found"),
        (b"<r><item>1</item><item>2</item><item>3", ["1", "2"], "Premature end"),
        (b"<r><item>1</item><item>a & b</item>", ["1"], "line 1, column"),
        (b"<r><item>1</item></x>", ["1"], "mismatch"),
        (b"<r><item>1</item><item>a&nbsp;b</item></r>", ["1"], "'nbsp' not defined"),
        (b"<html><p>Sorry<br></html>", [], "mismatch"),
    ],
)
def test_what_is_not_well_formed_is_told_after_the_records_before_it(body: bytes, records: list[str], why: str) -> None:
    for size in (None, 1, 10):
        found, error = texts(page(body, size))
        assert found == records
        assert error.startswith(f"{URL}: ")
        assert why in error
        assert error.endswith(f"(after {len(records)} records)")


def test_a_body_that_breaks_off_gives_its_records_and_its_error() -> None:
    broken = page(b"<r><item>1</item><item>2</item><it", 5, error=TruncatedBody("the connection was lost"))
    assert texts(broken) == (["1", "2"], "the connection was lost")
    cut = gzip.compress(b"<r>" + b"".join(b"<item>%d</item>" % n for n in range(5000)) + b"</r>")[:-2000]
    found, error = texts(page(cut, 100))
    assert found == [str(n) for n in range(len(found))]
    assert 1000 < len(found) < 5000
    assert "ended before its time" in error


ENTITIES = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 9))
BOMBS: dict[str, Callable[[], bytes]] = {
    "a billion laughs": lambda: f"<!DOCTYPE r [<!ENTITY e0 '{'ha' * 50}'>{ENTITIES}]><r><item>&e8;</item></r>".encode(),
    "in an attribute": lambda: f"<!DOCTYPE r [<!ENTITY e0 '{'ha' * 50}'>{ENTITIES}]><r><item a='&e8;'/></r>".encode(),
    "quadratic": lambda: b"<!DOCTYPE r [<!ENTITY a '%b'>]><r>%b</r>" % (b"x" * 100_000, b"<item>&a;</item>" * 50_000),
    "deep": lambda: b"<r>" + b"<a>" * 3_000_000,
    "a long text": lambda: b"<r><item>" + b"x" * 20_000_000,
    "a long comment": lambda: b"<r><!--" + b"x" * 20_000_000,
    "a long name": lambda: b"<r><" + b"x" * 20_000_000,
    "a long prolog": lambda: b"<!-- x -->" * 2_000_000,
    "a doctype without end": lambda: b"<!DOCTYPE r [" + b"<!ENTITY a 'b'>" * 500_000,
    "regular expressions": lambda: b"<?xml " + b" encoding" * 500_000 + b"<item" * 500_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_soon_and_in_bounded_memory(name: str) -> None:
    body = BOMBS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    found, error = texts(page(body, 65536))
    assert error.startswith(URL)
    assert len("".join(found)) < 6_000_000
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80_000


def test_external_entities_are_never_fetched(tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    for entity in (f'SYSTEM "{secret.as_uri()}"', 'SYSTEM "http://127.0.0.1:9/x"', f'PUBLIC "x" "{secret}"'):
        found, error = texts(page(f"<!DOCTYPE r [<!ENTITY x {entity}>]><r><item>1</item><item>&x;</item></r>".encode()))
        assert found == ["1"]
        assert "'x' not defined" in error
    own = b"<!DOCTYPE r [<!ENTITY mine 'copyright us'>]><r><item>&mine;</item></r>"
    assert texts(page(own)) == (["copyright us"], "")


def test_a_record_that_is_too_long() -> None:
    body = b"<r><item>1</item><item>" + b"<n>x</n>" * 50_000 + b"</item></r>"
    assert texts(page(body), max_record=200_000) == (
        ["1"],
        f"{URL}: a <item> of more than 200000 bytes (after 1 records)",
    )
    assert texts(page(body), max_record=1_000_000) == (["1", "x" * 50_000], "")


def test_what_follows_the_root_is_forgotten() -> None:
    for unit in (b"<!-- nothing -->\n", b"<?say nothing?>\n"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert texts(page(b"<r><item>1</item></r>" + unit * 1_000_000, 65536)) == (["1"], "")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    found, error = texts(page(b"<r><item>1</item></r><!-- x --><r/>", 65536))
    assert (found, "Extra content" in error) == (["1"], True)


@pytest.mark.parametrize("size", [65536, 1_000_003])
@pytest.mark.parametrize("value", ["1", ">", '"', "x" * 5000])
def test_a_tag_that_is_too_long(value: str, size: int) -> None:
    attributes = "".join(f" n{n}='{value}'" for n in range(2_000_000 // (len(value) + 8)))
    body = f"<r><item>1</item><x{attributes}/></r>".encode()
    assert texts(page(body, size)) == (["1"], f"{URL}: a tag of more than 1048576 characters (after 1 records)")
    assert texts(page(body[:10_000] + b"/></r>", size))[0] == ["1"]


@pytest.mark.parametrize("begin", ["<![CDATA[", "<!--"])
def test_a_long_section_is_no_tag(begin: str) -> None:
    end = "]]>" if begin == "<![CDATA[" else "-->"
    for size in (65536, len("<r><item>1</item><item><")):  # the latter cuts within `<!`
        body = f"<r><item>1</item><item>{begin}{'x' * 1_200_000}{end}</item></r>".encode()
        found, error = texts(page(body, size))
        assert ([len(text) for text in found], error) == ([1, 1_200_000 if "CDATA" in begin else 0], "")


def test_records_in_records_take_memory_one_at_a_time() -> None:
    body = b"<r>" + (b"<item>" * 200 + b"</item>" * 200) * 500 + b"</r>"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(texts(page(body, 65536))[0]) == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_a_gzip_bomb_ends_at_the_size_limit() -> None:
    bomb = page(gzip.compress(b"<r>" + b"<n>x</n>" * 1_000_000), 1000)
    bomb.request = bomb.request.replace(max_size=1_000_000)
    assert "the body is over the limit of 1000000 bytes" in texts(bomb)[1]


def test_nothing_but_other_elements_is_forgotten_as_well() -> None:
    body = b"<r>" + b"<other><a>text</a> more </other> between " * 300_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, error = texts(page(body, 65536))
    assert found == []
    assert "Premature end" in error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_others_get_a_turn_while_a_whole_body_is_parsed() -> None:
    body = b"<r>" + b"<item>1</item>" * 20_000 + b"</r>"

    async def main() -> int:
        turns = 0
        done = False

        async def other() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async for _ in xml_records(page(body), "item"):
            pass
        done = True
        await task
        return turns

    assert asyncio.run(main()) >= len(body) // 65536
