"""Which characters the bytes of a page are: explicit, byte-order mark, Content-Type, declaration, detection."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding

from streamcrawl.encoding import declares_utf8, decode

CYRILLIC = "Привет, мир! Съешь же ещё этих мягких французских булок да выпей чаю."
JAPANESE = "これは日本語の文章です。文字コードを判定するために少し長めに書いてあります。"
HTML = "text/html"


def meta(charset: str, text: str) -> bytes:
    return f'<html><head><meta charset="{charset}"></head><body>{text}'.encode(charset)


@pytest.mark.parametrize(
    ("body", "content_type", "explicit", "encoding"),
    [
        # explicit wins over everything
        (CYRILLIC.encode("koi8-r"), f"{HTML}; charset=cp1251", "koi8-r", "koi8-r"),
        (meta("cp1251", CYRILLIC), None, "windows-1251", "cp1251"),
        # a byte-order mark over Content-Type and declarations
        (codecs.BOM_UTF8 + CYRILLIC.encode(), f"{HTML}; charset=cp1251", None, "utf-8"),
        (codecs.BOM_UTF16_LE + CYRILLIC.encode("utf-16-le"), f"{HTML}; charset=utf-8", None, "utf-16-le"),
        (codecs.BOM_UTF16_BE + CYRILLIC.encode("utf-16-be"), None, None, "utf-16-be"),
        # Content-Type over declarations
        (meta("cp1251", CYRILLIC).replace(b"cp1251", b"utf-8"), f"{HTML}; charset=windows-1251", None, "cp1251"),
        (CYRILLIC.encode("koi8-r"), f'{HTML}; charset="KOI8-R"', None, "koi8-r"),
        (CYRILLIC.encode(), f"{HTML};charset=UTF8", None, "utf-8"),
        # declarations
        (meta("koi8-r", CYRILLIC), HTML, None, "koi8-r"),
        (f"<?xml version='1.0' encoding='windows-1251'?><p>{CYRILLIC}</p>".encode("cp1251"), None, None, "cp1251"),
        (
            f'<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">{JAPANESE}'.encode("cp932"),
            None,
            None,
            "cp932",
        ),
        # detection
        (CYRILLIC.encode(), HTML, None, "utf-8"),
        (JAPANESE.encode(), None, None, "utf-8"),
        (b"plain ASCII", None, None, "utf-8"),
        (b"", None, None, "utf-8"),
        # what is no encoding does not count
        (CYRILLIC.encode(), f"{HTML}; charset=no-such", "neither", "utf-8"),
    ],
)
def test_what_is_said_first_counts(body: bytes, content_type: str | None, explicit: str | None, encoding: str) -> None:
    name, text = decode(body, content_type, explicit)
    assert codecs.lookup(name).name == codecs.lookup(encoding).name
    assert not text.startswith("\ufeff")
    if len(body) > 20:
        assert CYRILLIC in text or JAPANESE in text or text == "plain ASCII"


@pytest.mark.parametrize(("encoding", "text"), [("cp1251", CYRILLIC), ("euc-jp", JAPANESE), ("cp932", JAPANESE)])
def test_an_encoding_that_nobody_says_is_detected(encoding: str, text: str) -> None:
    _, found = decode((text * 20).encode(encoding), HTML)
    assert text in found


@pytest.mark.parametrize("label", ["latin-1", "iso-8859-1", "ascii", "US-ASCII", "latin1"])
def test_latin_1_means_windows_1252_on_the_web(label: str) -> None:
    assert decode(b"\x93quoted\x94 \x80", f"{HTML}; charset={label}") == ("cp1252", "“quoted” €")


@pytest.mark.parametrize("label", ["gb2312", "GBK"])
def test_chinese_labels_mean_their_superset(label: str) -> None:
    name, text = decode("镕".encode("gb18030"), f"{HTML}; charset={label}")
    assert (name, text) == ("gb18030", "镕")


def test_broken_bytes_become_the_replacement_character() -> None:
    name, text = decode(b"caf\xc3\xa9 \xff!", f"{HTML}; charset=utf-8")
    assert (name, text) == ("utf-8", "café \ufffd!")
    assert decode(b"a\xff", None, "utf-8")[1] == "a\ufffd"
    assert "\ufffd" in decode(codecs.BOM_UTF16_LE + b"\x00\xd8", None)[1]


@pytest.mark.parametrize("codec", ["hex", "base64", "zlib", "rot13", "idna", "punycode", "undefined", "bz2"])
def test_a_codec_that_is_none_of_characters_says_nothing(codec: str) -> None:
    body = f'<meta charset="{codec}">Привет'.encode()
    assert decode(body, None) == ("utf-8", body.decode())
    assert decode(body, f"text/html; charset={codec}") == ("utf-8", body.decode())
    assert decode("Привет".encode(), None, codec) == ("utf-8", "Привет")


LABELS = st.sampled_from(
    [
        "utf-8",
        "utf-16",
        "utf-32",
        "utf-7",
        "cp1252",
        "shift_jis",
        "big5",
        "gb18030",
        "hz",
        "iso-2022-jp",
        "no-such",
        "\x00",
    ]
)


@given(st.binary(max_size=200), st.none() | LABELS, st.none() | LABELS, st.none() | LABELS)
def test_it_never_fails(body: bytes, in_page: str | None, header: str | None, explicit: str | None) -> None:
    if in_page is not None:
        body = f'<meta charset="{in_page}">'.encode() + body
    name, text = decode(body, f"text/html; charset={header}" if header else None, explicit)
    assert codecs.lookup(name).name
    assert len(text) <= 4 * len(body)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_utf_8_comes_through_whether_it_is_said_or_not(text: str) -> None:
    body = ("<p>" + text).encode()
    assert decode(body, "text/html; charset=utf-8") == ("utf-8", "<p>" + text)
    assert decode(body, None)[1] == "<p>" + text


def test_a_page_that_can_be_read_as_ascii_is_not_utf_16_whatever_it_says() -> None:
    body = '<meta charset="utf-16">Привет'.encode()
    assert decode(body, "text/html") == ("utf-8", body.decode())
    assert decode("\ufeffПривет".encode("utf-16-le"), "text/html")[1] == "Привет"
    assert decode("Привет".encode("utf-16-le"), "text/html; charset=utf-16-le")[1] == "Привет"


PIECES = (
    b'<?xml version="1.0" encoding="UTF-8"?>',
    b'<?xml version="1.0"?>',
    b"<!DOCTYPE html><html><head>",
    b"<!-- <meta charset=latin-1> -->",
    b'<meta charset="utf-8">',
    b"<meta charset=latin-1>",
    b'<meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />',
    b'<meta name="a" content="charset=koi8-r > b">',
    b'<meta content="> charset=utf-8 >" http-equiv=content-type>',
    b"<meta charset=",
    b"charset",
    b"<title>x</title><body>",
    b"<p>" + b"x" * 1000,
    b">",
)


@given(
    st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join), st.sampled_from([None, "text/html", "a; charset=utf8"])
)
def test_what_a_page_declares_is_looked_up_once_and_stays_what_it_is(body: bytes, content_type: str | None) -> None:
    told = http_content_type_encoding(content_type) or html_body_declared_encoding(body)
    assert declares_utf8(body, content_type) == (told == "utf-8")
