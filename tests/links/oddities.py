"""Odd links, with what a LinkExtractor makes of them, and what Scrapy 2.19's makes of them where that differs, and why.

Needs nothing but the standard library: tests/benchmarks/links.py asks Scrapy in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

PAGE = "http://a.test/dir/page?x=1"

WHATWG = "URLs are written as browsers write them (WHATWG)"
REFUSED = "no browser takes it for a URL: it cannot be fetched"


class Odd(NamedTuple):
    """A page of this HTML at `PAGE`.

    Args:
        html: Its body.
        urls: What is extracted.
        scrapy: What Scrapy extracts; None: the same.
        why: Why not the same.
        encoding: Of the page.
    """

    html: str
    urls: list[str]
    scrapy: list[str] | None = None
    why: str = ""
    encoding: str = "utf-8"


HERE = "http://a.test/dir/page?x=1"

ODDITIES: list[Odd] = [
    # -- empty, white space, fragments
    Odd('<a href="">', [HERE]),
    Odd('<a href="   ">', [HERE]),
    Odd("<a href>", [HERE]),
    Odd("<a name=x>", []),
    Odd('<a href="#">', [HERE + "#"], [HERE], WHATWG),
    Odd('<a href="#top">', [HERE + "#top"]),
    Odd('<a href="#a b">', [HERE + "#a%20b"]),
    Odd('<a href="/x??y##z">', ["http://a.test/x??y##z"], ["http://a.test/x??y#%23z"], WHATWG),
    Odd('<a href="?">', ["http://a.test/dir/page?"], [HERE], WHATWG),
    Odd('<a href=" /a ">', ["http://a.test/a"]),
    Odd('<a href="\n/a\t">', ["http://a.test/a"]),
    Odd('<a href="/a\n/b\tc">', ["http://a.test/a/bc"]),
    Odd('<a href="/a b">', ["http://a.test/a%20b"]),
    Odd('<a href="\u00a0/a">', ["http://a.test/dir/%C2%A0/a"]),
    # -- schemes
    Odd('<a href="javascript:void(0)">', []),
    Odd('<a href="java\nscript:x">', []),
    Odd('<a href="mailto:a@b.test">', []),
    Odd('<a href="tel:1">', []),
    Odd('<a href="data:text/html,x">', []),
    Odd('<a href="blob:http://a.test/x">', []),
    Odd('<a href="view-source:http://a.test/x">', []),
    Odd('<a href="ws://b.test/">', []),
    Odd('<a href="s3://b/x">', []),
    Odd('<a href="ftp://a.test/x">', ["ftp://a.test/x"]),
    Odd('<a href="file:///etc/x">', ["file:///etc/x"]),
    Odd('<a href="HTTP://B.Test">', ["http://b.test/"], ["http://b.test"], WHATWG),
    Odd('<a href="//b.test">', ["http://b.test/"], ["http://b.test"], WHATWG),
    Odd('<a href="http:x">', ["http://a.test/dir/x"]),
    Odd('<a href="http:/x">', ["http://a.test/x"]),
    Odd('<a href="https:x">', ["https://x/"], [], WHATWG),
    Odd('<a href="http:///x">', ["http://x/"], ["http://a.test/x"], WHATWG),
    Odd('<a href="http://">', [], [HERE], REFUSED),
    Odd('<a href="http:\\\\b.test\\c">', ["http://b.test/c"], ["http://a.test/dir///b.test/c"], WHATWG),
    Odd('<a href="\\\\b.test/c">', ["http://b.test/c"], ["http://a.test/dir///b.test/c"], WHATWG),
    Odd('<a href="://x">', ["http://a.test/dir/://x"], ["http://a.test/dir/:/x"], WHATWG),
    Odd('<a href="1:2">', ["http://a.test/dir/1:2"]),
    # -- other elements
    Odd("<area href=/a><A HREF=/b>", ["http://a.test/a", "http://a.test/b"]),
    Odd("<link href=/a><iframe src=/b></iframe><form action=/c></form>", []),
    Odd("<frameset><frame src=/a></frameset>", []),
    Odd('<svg><a xlink:href="/a">x</a></svg>', []),
    # -- hosts and ports
    Odd('<a href="http://[::1]/">', ["http://[::1]/"]),
    Odd('<a href="http://[::1]:8080/x">', ["http://[::1]:8080/x"]),
    Odd('<a href="http://[0:0::1]:80/">', ["http://[::1]/"], ["http://[0:0::1]:80/"], WHATWG),
    Odd('<a href="http://[::1/">', []),
    Odd('<a href="http://[v1.x]/">', [], ["http://v1.x/"], REFUSED),
    Odd('<a href="http://[fe80::1%25eth0]/">', [], ["http://[fe80::1%25eth0]/"], REFUSED),
    Odd('<a href="http://b.test:80/">', ["http://b.test/"], ["http://b.test:80/"], WHATWG),
    Odd('<a href="http://b.test:/">', ["http://b.test/"]),
    Odd('<a href="http://b.test:065/">', ["http://b.test:65/"]),
    Odd('<a href="http://b.test:99999/"><a href="http://b.test:x/"><a href="http://b.test:-1/">', []),
    Odd('<a href="http://user:pass@b.test/">', ["http://user:pass@b.test/"]),
    Odd('<a href="http://b test/">', [], ["http://b test/"], REFUSED),
    Odd('<a href="http://b%20.test/">', [], ["http://b%20.test/"], REFUSED),
    Odd('<a href="http://b_c.test/"><a href="http://*.test/">', ["http://b_c.test/", "http://*.test/"]),
    Odd('<a href="http://0x7f.1/">', ["http://127.0.0.1/"], ["http://0x7f.1/"], WHATWG),
    Odd('<a href="http://256.1.1.1/">', [], ["http://256.1.1.1/"], REFUSED),
    Odd('<a href="http://b\u3002test/">', ["http://b.test/"]),
    Odd('<a href="http://bücher.test/ä">', ["http://xn--bcher-kva.test/%C3%A4"]),
    # -- control characters, escapes
    Odd('<a href="/a\x01b\x7f">', ["http://a.test/a%01b%7F"]),
    Odd('<a href="http://b\x01.test/">', [], ["http://b\x01.test/"], REFUSED),
    Odd('<a href="/a&#0;b">', ["http://a.test/a%EF%BF%BDb"]),
    Odd('<a href="/%zz%7e">', ["http://a.test/%zz%7e"]),
    Odd('<a href="/a|b[c]">', ["http://a.test/a|b[c]"], ["http://a.test/a%7Cb%5Bc%5D"], WHATWG),
    Odd(
        '<a href="?q=a|b{c}\'">',
        ["http://a.test/dir/page?q=a|b{c}%27"],
        ["http://a.test/dir/page?q=a%7Cb%7Bc%7D%27"],
        WHATWG,
    ),
    # -- paths
    Odd('<a href="/a/../b/./c/">', ["http://a.test/b/c/"]),
    Odd('<a href="../../../c">', ["http://a.test/c"]),
    Odd('<a href="/a/%2e%2e/b">', ["http://a.test/b"], ["http://a.test/a/%2e%2e/b"], WHATWG),
    Odd('<a href=";p">', ["http://a.test/dir/;p"]),
    # -- encodings
    Odd('<a href="/ä?q=ä#ä">', ["http://a.test/%C3%A4?q=%C3%A4#%C3%A4"]),
    Odd('<a href="/ы?q=ы">', ["http://a.test/%D1%8B?q=%FB"], encoding="cp1251"),
    Odd('<a href="/x#ы">', ["http://a.test/x#%D1%8B"], ["http://a.test/x#%FB"], WHATWG, "cp1251"),
    Odd('<a href="?q=日本">', ["http://a.test/dir/page?q=%C6%FC%CB%DC"], encoding="euc_jp"),
    Odd(
        '<a href="?q=本">', ["http://a.test/dir/page?q=%96{"], ["http://a.test/dir/page?q=%96%7B"], WHATWG, "shift_jis"
    ),
    Odd(
        '<a href="?q=&#26085;">',
        ["http://a.test/dir/page?q=%26%2326085%3B"],
        [],
        "what the page's encoding lacks is sent as a character reference (WHATWG); Scrapy loses the link",
        "iso-8859-1",
    ),
    Odd(
        '<a href="?q=ä">',
        ["http://a.test/dir/page?q=%C3%A4"],
        ["http://a.test/dir/page?q%00=%00%E4%00"],
        "a page in UTF-16 asks in UTF-8 (WHATWG)",
        "utf-16",
    ),
    # -- base
    Odd('<base href="http://b.test/x/"><a href=y><a href="">', ["http://b.test/x/y", "http://b.test/x/"]),
    Odd('<base target=_top><base href="/1/"><base href="/2/"><a href=y>', ["http://a.test/1/y"]),
    Odd('<!--<base href="/no/">--><a href=y>', ["http://a.test/dir/y"]),
    Odd('<base href="javascript:x"><a href=y>', ["http://a.test/dir/y"]),
    Odd('<body><p><base href="/body/"><a href=y>', ["http://a.test/body/y"]),
    Odd('<base href="http://["><a href=y>', ["http://a.test/dir/y"], ["ValueError"], "such a base does not count"),
    Odd(
        f"<!--{'x' * 5000}--><base href=/late/><a href=y>",
        ["http://a.test/late/y"],
        ["http://a.test/dir/y"],
        "a base counts wherever it stands, not in the first 4,096 characters only",
    ),
    # -- the same twice
    Odd('<a href="/a"><a href=" /a "><a href="http://A.TEST/a">', ["http://a.test/a"]),
    Odd('<a href="/a#1"><a href="/a#2">', ["http://a.test/a#1", "http://a.test/a#2"]),
    # -- files
    Odd('<a href="/x.pdf"><a href="/x.PDF?y"><a href="/x.zip;a=1.2"><a href="/x.tar.gz#y">', []),
    Odd(
        '<a href="/x?f=y.pdf"><a href="/x.pdf/"><a href="/pdf">',
        ["http://a.test/x?f=y.pdf", "http://a.test/x.pdf/", "http://a.test/pdf"],
    ),
    Odd('<a href="/x.woff2">', [], ["http://a.test/x.woff2"], "the list of extensions knows more file types"),
]


def extracted(extract: Callable[[str, bytes, str], list[str]]) -> list[list[str]]:
    """What `extract(url, body, content_type)` gives for each of them, or the name of what it raises."""

    def one(row: Odd) -> list[str]:
        try:
            return extract(PAGE, row.html.encode(row.encoding), f"text/html; charset={row.encoding}")
        except Exception as error:
            return [type(error).__name__]

    return [one(row) for row in ODDITIES]
