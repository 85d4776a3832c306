"""Every rule of RFC 6265bis §5 that a crawler has, as tables: each row begins with the section that it is of.

The two rules that RFC 6265 has otherwise, and that a jar has on demand alone, are at the end both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest

from streamcrawl import cookies
from streamcrawl.cookies import Cookie, Refused, parse_date
from streamcrawl.cookies.cookie import default_path, domain_matches, is_public_suffix, path_matches
from streamcrawl.cookies.set_cookie import LONGEST_LIFE

CookieJar = partial(cookies.CookieJar, like_browsers=True)
parse_set_cookie = partial(cookies.parse_set_cookie, like_browsers=True)
split_set_cookie = partial(cookies.split_set_cookie, like_browsers=True)

NOW = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
PAGE = "https://www.shop.example/a/b"
HTTP_PAGE = "http://www.shop.example/a/b"

DATES = [
    # (section, text, what it means)
    ("5.1.1", "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06 08:49:37"),
    ("5.1.1", "Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06 08:49:37"),
    ("5.1.1", "Sun Nov  6 08:49:37 1994", "1994-11-06 08:49:37"),
    # delimiters: tab, blank to slash, ; to @, [ to `, { to ~; what stands between two of them is a token
    ("5.1.1 delimiter", "\t06/Nov;1994[08:49:37]~", "1994-11-06 08:49:37"),
    ("5.1.1 delimiter", "06\x7fNov 1994 08:49:37", None),
    ("5.1.1 delimiter", "06:Nov 1994 08:49:37", None),
    # 1*2DIGIT [ non-digit *OCTET ], and so on
    ("5.1.1 hms-time", "6 november 1994 8:9:7", "1994-11-06 08:09:07"),
    ("5.1.1 hms-time", "06 Nov 1994 08:49:37zulu", "1994-11-06 08:49:37"),
    ("5.1.1 hms-time", "06 Nov 1994 008:49:37", None),
    ("5.1.1 hms-time", "06 Nov 1994 08:49:370", None),
    ("5.1.1 hms-time", "06 Nov 1994 08:49", None),
    ("5.1.1 day-of-month", "6th Nov 1994 08:49:37", "1994-11-06 08:49:37"),
    ("5.1.1 day-of-month", "006 Nov 1994 08:49:37", None),
    ("5.1.1 month", "06 nOVembre 1994 08:49:37", "1994-11-06 08:49:37"),
    ("5.1.1 month", "06 No 1994 08:49:37", None),
    ("5.1.1 month", "06 11 1994 08:49:37", None),
    ("5.1.1 year", "06 Nov 1994th 08:49:37", "1994-11-06 08:49:37"),
    ("5.1.1 year", "06 Nov 994 08:49:37", None),
    ("5.1.1 year", "06 Nov 4 08:49:37", None),
    ("5.1.1 year", "06 Nov 19940 08:49:37", None),
    # the first token of each kind counts, in whatever order they come
    ("5.1.1 step 2", "1994 nov 6 08:49:37", "1994-11-06 08:49:37"),
    ("5.1.1 step 2", "08:49:37 6 Nov 1994 09:00:00 7 Dec 1995", "1994-11-06 08:49:37"),
    ("5.1.1 step 2", "94 nov 6 08:49:37", None),
    ("5.1.1 step 2", "Mon, 06 Nov 1994 08:49:37 +0300", "1994-11-06 08:49:37"),
    ("5.1.1 step 3", "06 Nov 70 08:49:37", "1970-11-06 08:49:37"),
    ("5.1.1 step 3", "06 Nov 99 08:49:37", "1999-11-06 08:49:37"),
    ("5.1.1 step 4", "06 Nov 69 08:49:37", "2069-11-06 08:49:37"),
    ("5.1.1 step 4", "06 Nov 00 08:49:37", "2000-11-06 08:49:37"),
    ("5.1.1 step 5", "", None),
    ("5.1.1 step 5", "06 Nov 1994", None),
    ("5.1.1 step 5", "Nov 1994 08:49:37", None),
    ("5.1.1 step 5", "06 Nov 08:49:37", None),
    ("5.1.1 step 5", "06 1994 08:49:37", None),
    ("5.1.1 step 5", "00 Nov 1994 08:49:37", None),
    ("5.1.1 step 5", "32 Nov 1994 08:49:37", None),
    ("5.1.1 step 5", "06 Nov 1600 08:49:37", None),
    ("5.1.1 step 5", "06 Nov 1601 08:49:37", "1601-11-06 08:49:37"),
    ("5.1.1 step 5", "06 Nov 1994 24:00:00", None),
    ("5.1.1 step 5", "06 Nov 1994 23:60:00", None),
    ("5.1.1 step 5", "06 Nov 1994 23:59:60", None),
    ("5.1.1 step 6", "29 Feb 2024 00:00:00", "2024-02-29 00:00:00"),
    ("5.1.1 step 6", "29 Feb 2023 00:00:00", None),
    ("5.1.1 step 6", "31 Apr 2024 00:00:00", None),
    ("5.1.1", "06 Nov 9999 08:49:37", "9999-11-06 08:49:37"),
]

DOMAINS = [
    # (section, host, domain, whether they match)
    ("5.1.3", "a.example", "a.example", True),
    ("5.1.3", "www.a.example", "a.example", True),
    ("5.1.3", "x.www.a.example", "a.example", True),
    ("5.1.3", "wwwa.example", "a.example", False),
    ("5.1.3", "example", "a.example", False),
    ("5.1.3", "a.example", "www.a.example", False),
    ("5.1.3", "127.0.0.1", "127.0.0.1", True),
    ("5.1.3", "127.0.0.1", "0.0.1", False),
    ("5.1.3", "[::1]", "[::1]", True),
    ("5.1.3", "xn--bcher-kva.example", "xn--bcher-kva.example", True),
]

PATHS = [
    # (section, path of the request, path of the cookie, whether they match)
    ("5.1.4", "/", "/", True),
    ("5.1.4", "/a", "/a", True),
    ("5.1.4", "/a", "/", True),
    ("5.1.4", "/a/b", "/a/", True),
    ("5.1.4", "/a/", "/a", True),
    ("5.1.4", "/a/b", "/a", True),
    ("5.1.4", "/a", "/a/", False),
    ("5.1.4", "/ab", "/a", False),
    ("5.1.4", "/A", "/a", False),
    ("5.1.4", "/%61", "/a", False),
    ("5.1.4", "/a;b", "/a", False),
]

DEFAULT_PATHS = [
    # (section, path of the page, path of the cookie)
    ("5.1.4 step 2", "", "/"),
    ("5.1.4 step 2", "a/b", "/"),
    ("5.1.4 step 3", "/", "/"),
    ("5.1.4 step 3", "/a", "/"),
    ("5.1.4 step 4", "/a/", "/a"),
    ("5.1.4 step 4", "/a/b", "/a"),
    ("5.1.4 step 4", "/a/b/", "/a/b"),
    ("5.1.4 step 4", "//", "/"),
]

SUFFIXES = [
    # (section, domain, whether it is a public suffix)
    ("5.7 step 9", "com", True),
    ("5.7 step 9", "co.uk", True),
    ("5.7 step 9", "github.io", True),
    ("5.7 step 9", "someone.github.io", False),
    ("5.7 step 9", "shop.example", False),
    ("5.7 step 9", "localhost", True),
    ("5.7 step 9", "www.ck", False),
    ("5.7 step 9", "127.0.0.1", False),
    ("5.7 step 9", "[::1]", False),
]

PARSED: list[tuple[str, str, str, str, dict[str, str]]] = [
    # (section, Set-Cookie, name, value, attributes)
    ("5.6 step 2", "a=1", "a", "1", {}),
    ("5.6 step 2", "a=1;", "a", "1", {}),
    ("5.6 step 2", 'a="1; 2"', "a", '"1', {'2"': ""}),
    ("5.6 step 2", "a=1 2,3", "a", "1 2,3", {}),
    ("5.6 step 3", "1", "", "1", {}),
    ("5.6 step 3", "=1", "", "1", {}),
    ("5.6 step 3", "==1", "", "=1", {}),
    ("5.6 step 3", "a=b=c", "a", "b=c", {}),
    ("5.6 step 3", "a=", "a", "", {}),
    ("5.6 step 3", "a; b=1", "", "a", {"b": "1"}),
    ("5.6 step 4", " a = 1 ", "a", "1", {}),
    ("5.6 step 4", "\ta\t=\t1\t", "a", "1", {}),
    ("5.6 step 4", "a b=1 2", "a b", "1 2", {}),
    ("5.6 step 4", "\u00a0a=1", "\u00a0a", "1", {}),
    ("5.6 step 5", "n" * 96 + "=" + "v" * 4000, "n" * 96, "v" * 4000, {}),
    ("5.6 step 6", "caf\u00c3\u00a9=\u00e2\u0082\u00ac", "caf\u00c3\u00a9", "\u00e2\u0082\u00ac", {}),
    ("5.6 attributes", "a=1; Secure", "a", "1", {"secure": ""}),
    ("5.6 attributes", "a=1;secure=no;HTTPONLY", "a", "1", {"secure": "no", "httponly": ""}),
    ("5.6 attributes", "a=1; Path=/x; path = /y ", "a", "1", {"path": "/y"}),
    ("5.6 attributes", "a=1; Path=/x; Path", "a", "1", {"path": ""}),
    ("5.6 attributes", "a=1; ;; Secure;", "a", "1", {"": "", "secure": ""}),
    ("5.6 attributes", "a=1; Path=/a=b", "a", "1", {"path": "/a=b"}),
    ("5.6 attributes", "a=1; Path=/" + "x" * 1023, "a", "1", {"path": "/" + "x" * 1023}),
    ("5.6 attributes", "a=1; Path=/" + "x" * 1024, "a", "1", {}),
    ("5.6 attributes", "a=1; Path=/y; Path=/" + "x" * 1024, "a", "1", {"path": "/y"}),
    ("5.6.1", "a=1; Expires=never", "a", "1", {}),
    ("5.6.2", "a=1; Max-Age=5; Max-Age=x", "a", "1", {"max-age": "5"}),
    ("5.6.2", "a=1; Max-Age=-5", "a", "1", {"max-age": "-5"}),
    ("5.6.2", "a=1; Max-Age=", "a", "1", {}),
    ("5.6.2", "a=1; Max-Age=-", "a", "1", {}),
    ("5.6.2", "a=1; Max-Age=1.5", "a", "1", {}),
    ("5.6.2", "a=1; Max-Age=+5", "a", "1", {}),
    ("5.6.2", "a=1; Max-Age=1 2", "a", "1", {}),
    ("5.6.2", "a=1; Max-Age=\u00b2", "a", "1", {}),
    ("5.6.3", "a=1; Domain=.A.Example", "a", "1", {"domain": ".A.Example"}),
]

IGNORED = [
    # (section, Set-Cookie)
    *[("5.6 step 1", f"a=1{chr(code)}2") for code in (*range(9), *range(10, 32), 127)],
    ("5.6 step 1", "a=1; Path=/\x7f"),
    ("5.6 step 1", "a=1; unknown=\x00"),
    ("5.6 step 1", "a\r=1"),
    ("5.6 step 5", "n" * 97 + "=" + "v" * 4000),
    ("5.7 step 2", ""),
    ("5.7 step 2", " "),
    ("5.7 step 2", ";"),
    ("5.7 step 2", "="),
    ("5.7 step 2", " = ; Secure"),
]

KEPT = [
    # (section, Set-Cookie, field of the cookie, what it is)
    ("5.6.1", "a=1", "expires", None),
    ("5.6.1", "a=1; Expires=Wed, 02 Jan 2030 00:00:00 GMT", "expires", NOW + 86_400),
    ("5.6.1", "a=1; Expires=Wed, 02 Jan 2030 00:00:00 GMT; Expires=never", "expires", NOW + 86_400),
    ("5.6.1", "a=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT", "expires", NOW + LONGEST_LIFE),
    ("5.6.2", "a=1; Max-Age=60", "expires", NOW + 60),
    ("5.6.2", "a=1; Max-Age=0060", "expires", NOW + 60),
    ("5.6.2", "a=1; Max-Age=" + "9" * 1000, "expires", NOW + LONGEST_LIFE),
    ("5.6.2", "a=1; Max-Age=0", "expires", float("-inf")),
    ("5.6.2", "a=1; Max-Age=-1", "expires", float("-inf")),
    ("5.6.3", "a=1; Domain=.SHOP.Example", "domain", "shop.example"),
    ("5.6.3", "a=1; Domain=..shop.example; Domain=shop.example", "domain", "shop.example"),
    ("5.6.4", "a=1", "path", "/a"),
    ("5.6.4", "a=1; Path", "path", "/a"),
    ("5.6.4", "a=1; Path=x", "path", "/a"),
    ("5.6.4", "a=1; Path=/x/", "path", "/x/"),
    ("5.6.5", "a=1; secure=false", "secure", True),
    ("5.6.5", "a=1", "secure", False),
    ("5.6.6", "a=1; HttpOnly=0", "http_only", True),
    ("5.6.6", "a=1", "http_only", False),
    ("5.6.7", "a=1; SameSite=STRICT", "same_site", "strict"),
    ("5.6.7", "a=1; SameSite=lax", "same_site", "lax"),
    ("5.6.7", "a=1; SameSite=None; Secure", "same_site", "none"),
    ("5.6.7", "a=1; SameSite=odd", "same_site", ""),
    ("5.6.7", "a=1; SameSite=Lax; SameSite", "same_site", ""),
    ("5.7 step 5", "a=1", "created", NOW),
    ("5.7 step 5", "a=1", "used", NOW),
    ("5.7 step 6", "a=1; Expires=Mon, 01 Jan 2029 00:00:00 GMT; Max-Age=5", "expires", NOW + 5),
    ("5.7 step 7", "a=1; Domain=shop.example; Domain=", "host_only", True),
    ("5.7 step 10", "a=1; Domain=www.shop.example", "host_only", False),
    ("5.7 step 10", "a=1", "host_only", True),
    ("5.7 step 10", "a=1", "domain", "www.shop.example"),
]

REFUSED = [
    # (section, page, Set-Cookie, why)
    ("5.6 step 1", PAGE, "a=1\x00", "control character"),
    ("5.6 step 5", PAGE, "a=" + "v" * 4096, "more than 4096 bytes"),
    ("5.7 step 2", PAGE, "=", "neither name nor value"),
    ("5.7 step 8", PAGE, "a=1; Domain=caf\u00e9.example", "not ASCII"),
    ("5.7 step 9", PAGE, "a=1; Domain=example", "public suffix"),
    ("5.7 step 9", "https://a.co.uk/", "a=1; Domain=co.uk", "public suffix"),
    ("5.7 step 10", PAGE, "a=1; Domain=other.example", "www.shop.example is not in the domain other.example"),
    ("5.7 step 10", PAGE, "a=1; Domain=x.www.shop.example", "not in the domain"),
    ("5.7 step 10", PAGE, "a=1; Domain=op.example", "not in the domain"),
    ("5.7 step 10", "http://127.0.0.1/", "a=1; Domain=0.0.1", "not in the domain"),
    ("5.7 step 13", HTTP_PAGE, "a=1; Secure", "came over http"),
    ("5.7 step 19", PAGE, "a=1; SameSite=None", "SameSite=None without Secure"),
    ("5.7 step 20", PAGE, "__Secure-a=1", "__secure- needs Secure"),
    ("5.7 step 20", PAGE, "__SECURE-a=1", "__secure- needs Secure"),
    ("5.7 step 21", PAGE, "__Host-a=1; Path=/", "__host- needs Secure"),
    ("5.7 step 21", PAGE, "__Host-a=1; Secure", "needs Path=/"),
    ("5.7 step 21", PAGE, "__Host-a=1; Secure; Path=/x", "needs Path=/"),
    ("5.7 step 21", "https://www.shop.example/", "__Host-a=1; Secure; Path=", "needs Path=/"),
    ("5.7 step 21", PAGE, "__Host-a=1; Secure; Path=/; Domain=www.shop.example", "no Domain"),
    ("5.7 step 22", PAGE, "=__Host-a=1; Secure; Path=/", "nameless"),
    ("5.7 step 22", PAGE, "__Secure-a; Secure", "nameless"),
    ("layered __Http-", PAGE, "__Http-a=1; Secure", "needs HttpOnly"),
    ("layered __Http-", PAGE, "__Http-a=1; HttpOnly", "needs Secure"),
    ("layered __Host-Http-", PAGE, "__Host-Http-a=1; Secure; Path=/", "needs HttpOnly"),
    ("layered __Host-Http-", PAGE, "__Host-Http-a=1; Secure; HttpOnly", "needs Path=/"),
]

SENT = [
    # (section, where it is set, Set-Cookie, where a request goes, the Cookie field)
    ("5.6 steps 2, 3", PAGE, "a=1", PAGE, "a=1"),
    ("5.6 steps 2, 3", PAGE, "1", PAGE, "1"),
    ("5.6 steps 2, 3", PAGE, "=1", PAGE, "1"),
    ("5.6 steps 2, 3", PAGE, "a=", PAGE, "a="),
    ("5.6 steps 2, 3", PAGE, "a=1", "http://www.shop.example/a/b", "a=1"),
    ("5.6 steps 2, 3", PAGE, "a=1", "https://www.shop.example:8443/a/b", "a=1"),
    ("5.7 steps 7, 10", PAGE, "a=1", "https://shop.example/a/b", ""),
    ("5.7 steps 7, 10", PAGE, "a=1", "https://x.www.shop.example/a/b", ""),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=shop.example", "https://shop.example/a/b", "a=1"),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=.SHOP.example", "https://x.y.shop.example/a/b", "a=1"),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=www.shop.example", "https://shop.example/a/b", ""),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=", "https://www.shop.example/a/b", "a=1"),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=", "https://x.www.shop.example/a/b", ""),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=shop.example; Domain=", "https://shop.example/a/b", ""),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=x.www.shop.example", PAGE, ""),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=other.example", PAGE, ""),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=op.example", PAGE, ""),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=caf\u00e9.example", PAGE, ""),
    ("5.7 steps 7, 10", PAGE, "a=1; Domain=..", PAGE, ""),
    ("5.7 step 9", PAGE, "a=1; Domain=example", PAGE, ""),
    ("5.7 step 9", "https://a.co.uk/", "a=1; Domain=co.uk", "https://b.co.uk/", ""),
    ("5.7 step 9", "https://a.co.uk/", "a=1; Domain=co.uk", "https://a.co.uk/", ""),
    ("5.7 step 9", "https://a.github.io/", "a=1; Domain=github.io", "https://a.github.io/", ""),
    ("5.7 step 9", "https://github.io/", "a=1; Domain=github.io", "https://github.io/", "a=1"),
    ("5.7 step 9", "https://github.io/", "a=1; Domain=github.io", "https://a.github.io/", ""),
    ("5.7 step 10", "http://localhost:8000/", "a=1", "http://localhost:9000/", "a=1"),
    ("5.7 step 10", "http://localhost/", "a=1; Domain=localhost", "http://localhost/", "a=1"),
    ("5.7 step 10", "http://127.0.0.1/", "a=1", "http://127.0.0.1:81/", "a=1"),
    ("5.7 step 10", "http://127.0.0.1/", "a=1; Domain=127.0.0.1", "http://127.0.0.1/", "a=1"),
    ("5.7 step 10", "http://127.0.0.1/", "a=1; Domain=0.0.1", "http://127.0.0.1/", ""),
    ("5.7 step 10", "http://127.0.0.1/", "a=1", "http://128.0.0.1/", ""),
    ("5.7 step 10", "http://[::1]:80/", "a=1", "http://[::1]/", "a=1"),
    ("5.7 step 11", PAGE, "a=1", "https://www.shop.example/a", "a=1"),
    ("5.7 step 11", PAGE, "a=1", "https://www.shop.example/a?x=/y", "a=1"),
    ("5.7 step 11", PAGE, "a=1", "https://www.shop.example/", ""),
    ("5.7 step 11", PAGE, "a=1", "https://www.shop.example/?/a/b", ""),
    ("5.7 step 11", PAGE, "a=1", "https://www.shop.example/ab", ""),
    ("5.7 step 11", PAGE, "a=1; Path=/", "https://www.shop.example/", "a=1"),
    ("5.7 step 11", PAGE, "a=1; Path=/x", "https://www.shop.example/x/y", "a=1"),
    ("5.7 step 11", PAGE, "a=1; Path=/x", PAGE, ""),
    ("5.7 step 11", PAGE, "a=1; Path=x", "https://www.shop.example/a/c", "a=1"),
    ("5.7 step 11", PAGE, "a=1; Path=/x; Path=", "https://www.shop.example/a/c", "a=1"),
    ("5.7 steps 12, 13", PAGE, "a=1; Secure", PAGE, "a=1"),
    ("5.7 steps 12, 13", PAGE, "a=1; Secure", "http://www.shop.example/a/b", ""),
    ("5.7 steps 12, 13", "http://www.shop.example/", "a=1; Secure", "https://www.shop.example/", ""),
    ("5.7 steps 14, 17, 19", PAGE, "a=1; HttpOnly", PAGE, "a=1"),
    ("5.7 steps 14, 17, 19", PAGE, "a=1; SameSite=Strict", PAGE, "a=1"),
    ("5.7 steps 14, 17, 19", PAGE, "a=1; SameSite=None; Secure", PAGE, "a=1"),
    ("5.7 steps 14, 17, 19", PAGE, "a=1; SameSite=None", PAGE, ""),
    ("5.7 steps 14, 17, 19", PAGE, "a=1; SameSite=None; SameSite=Odd", PAGE, "a=1"),
    ("5.7 steps 20 to 22", PAGE, "__Secure-a=1; Secure", PAGE, "__Secure-a=1"),
    ("5.7 steps 20 to 22", PAGE, "__Secure-a=1", PAGE, ""),
    ("5.7 steps 20 to 22", PAGE, "__SECURE-a=1", PAGE, ""),
    ("5.7 steps 20 to 22", PAGE, "__Host-a=1; Secure; Path=/", PAGE, "__Host-a=1"),
    ("5.7 steps 20 to 22", PAGE, "__Host-a=1; Secure; Path=/; Domain=", PAGE, "__Host-a=1"),
    ("5.7 steps 20 to 22", PAGE, "__Host-a=1; Secure; Path=/; Domain=www.shop.example", PAGE, ""),
    ("5.7 steps 20 to 22", PAGE, "__Host-a=1; Secure", PAGE, ""),
    ("5.7 steps 20 to 22", "https://www.shop.example/", "__host-a=1; Secure", PAGE, ""),
    ("5.7 steps 20 to 22", PAGE, "__Host-a=1; Path=/", PAGE, ""),
    ("5.7 steps 20 to 22", PAGE, "=__Host-a=1; Secure; Path=/", PAGE, ""),
    ("5.7 steps 20 to 22", PAGE, "=__secure-a=1; Secure", PAGE, ""),
    ("5.7 step 6", PAGE, "a=1; Max-Age=1", PAGE, "a=1"),
    ("5.7 step 6", PAGE, "a=1; Max-Age=0", PAGE, ""),
    ("5.7 step 6", PAGE, "a=1; Max-Age=-1", PAGE, ""),
    ("5.7 step 6", PAGE, "a=1; Expires=Mon, 01 Jan 2029 00:00:00 GMT", PAGE, ""),
    ("5.7 step 6", PAGE, "a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT", PAGE, "a=1"),
    ("5.7 step 6", PAGE, "a=1; Expires=Mon, 01 Jan 2029 00:00:00 GMT; Max-Age=5", PAGE, "a=1"),
    ("5.7 step 6", PAGE, "a=1; Max-Age=0; Expires=Wed, 01 Jan 2031 00:00:00 GMT", PAGE, ""),
    ("5.7 step 6", PAGE, "a=1; Expires=nonsense", PAGE, "a=1"),
    ("5.8.3 step 1", PAGE, "a=1", "https://WWW.shop.example/a/b".lower(), "a=1"),
    ("5.8.3 step 4", PAGE, "a=", PAGE, "a="),
    ("5.8.3 step 4", PAGE, "1", PAGE, "1"),
    ("layered __Http-", PAGE, "__Http-a=1; Secure; HttpOnly", PAGE, "__Http-a=1"),
    ("layered __Host-Http-", PAGE, "__Host-Http-a=1; Secure; HttpOnly; Path=/", PAGE, "__Host-Http-a=1"),
]

SAME_SITE = [
    # (section, SameSite, method, page that caused the request, whether the cookie goes)
    ("5.2", "Strict", "GET", None, True),
    ("5.2", "Strict", "GET", "https://api.shop.example/", True),
    ("5.2", "Strict", "GET", "https://shop.example:8443/", True),
    ("5.2", "Strict", "GET", "http://www.shop.example/", False),
    ("5.8.3 step 1", "Strict", "GET", "https://other.example/", False),
    ("5.8.3 step 1", "Strict", "GET", "https://shop.example.other.example/", False),
    ("5.8.3 step 1", "Lax", "GET", "https://other.example/", True),
    ("5.8.3 step 1", "Lax", "HEAD", "https://other.example/", True),
    ("5.8.3 step 1", "Lax", "POST", "https://other.example/", False),
    ("5.8.3 step 1", "Lax", "POST", "https://shop.example/", True),
    ("5.8.3 step 1", "None", "POST", "https://other.example/", True),
    ("5.6.7.2", "odd", "POST", "https://other.example/", True),
    ("5.6.7.2", "odd", "GET", "https://other.example/", True),
]


@pytest.mark.parametrize(("section", "text", "date"), DATES)
def test_dates(section: str, text: str, date: str | None) -> None:
    seconds = parse_date(text)
    assert (None if seconds is None else str(datetime.fromtimestamp(seconds, UTC))[:19]) == date


@pytest.mark.parametrize(("section", "host", "domain", "matches"), DOMAINS)
def test_domains_that_match(section: str, host: str, domain: str, matches: bool) -> None:
    assert domain_matches(host, domain) is matches


@pytest.mark.parametrize(("section", "path", "cookie_path", "matches"), PATHS)
def test_paths_that_match(section: str, path: str, cookie_path: str, matches: bool) -> None:
    assert path_matches(path, cookie_path) is matches


@pytest.mark.parametrize(("section", "path", "expected"), DEFAULT_PATHS)
def test_default_paths(section: str, path: str, expected: str) -> None:
    assert default_path(path) == expected


@pytest.mark.parametrize(("section", "domain", "public"), SUFFIXES)
def test_public_suffixes(section: str, domain: str, public: bool) -> None:
    assert is_public_suffix(domain) is public


@pytest.mark.parametrize(("section", "line", "name", "value", "attributes"), PARSED)
def test_a_field_taken_apart(section: str, line: str, name: str, value: str, attributes: dict[str, str]) -> None:
    assert split_set_cookie(line) == (name, value, attributes)


@pytest.mark.parametrize(("section", "line"), IGNORED)
def test_a_field_that_is_ignored(section: str, line: str) -> None:
    assert split_set_cookie(line) is None
    assert isinstance(parse_set_cookie(line, "www.shop.example", "/", True, NOW), Refused)


@pytest.mark.parametrize(("section", "line", "field", "value"), KEPT)
def test_what_a_cookie_is_kept_as(section: str, line: str, field: str, value: object) -> None:
    cookie = parse_set_cookie(line, "www.shop.example", "/a/b", True, NOW)
    assert getattr(cookie, field) == value


@pytest.mark.parametrize(("section", "page", "line", "why"), REFUSED)
def test_what_is_refused_and_why(section: str, page: str, line: str, why: str) -> None:
    jar = CookieJar()
    (refused,) = jar.store(page, [line], NOW)
    assert isinstance(refused, Refused)
    assert refused.line == line
    assert why in refused.reason
    assert len(jar) == 0


@pytest.mark.parametrize(("section", "page", "line", "target", "header"), SENT)
def test_what_is_set_here_is_sent_there(section: str, page: str, line: str, target: str, header: str) -> None:
    jar = CookieJar()
    jar.store(page, [line], NOW)
    assert jar.header_for(target, NOW) == header


@pytest.mark.parametrize(("section", "same_site", "method", "source", "goes"), SAME_SITE)
def test_same_site(section: str, same_site: str, method: str, source: str | None, goes: bool) -> None:
    jar = CookieJar()
    jar.store(PAGE, [f"a=1; Secure; SameSite={same_site}"], NOW)
    assert bool(jar.cookies_for(PAGE, NOW, method=method, source=source)) is goes


# ---- what needs more than one cookie


def overlaying(line: str, page: str = HTTP_PAGE, later: float = 0) -> Callable[[], bool]:
    def kept() -> bool:
        jar = CookieJar()
        jar.store(PAGE, ["a=1; Secure; Path=/a; Max-Age=60"], NOW)
        (result,) = jar.store(page, [line], NOW + later)
        assert ("a=1" in jar.header_for(PAGE, NOW + later)) == (not later)
        return isinstance(result, Cookie)

    return kept


OVERLAYS = [
    # (section, whether it is kept beside a Secure cookie a with Path=/a)
    ("5.7 step 16", overlaying("a=2"), False),
    ("5.7 step 16", overlaying("a=2; Path=/a/b/c"), False),
    ("5.7 step 16", overlaying("a=2; Domain=shop.example"), False),
    ("5.7 step 16", overlaying("a=2", "http://x.www.shop.example/a/"), False),
    ("5.7 step 16", overlaying("a=2", "http://api.shop.example/a/"), True),
    ("5.7 step 16", overlaying("a=; Max-Age=0"), False),
    ("5.7 step 16", overlaying("a=2; Path=/"), True),
    ("5.7 step 16", overlaying("a=2; Path=/ab"), True),
    ("5.7 step 16", overlaying("A=2"), True),
    ("5.7 step 16", overlaying("a=2", later=60), True),
    ("5.7 step 16", overlaying("a=2; Path=/", PAGE), True),
]


@pytest.mark.parametrize(("section", "overlay", "kept"), OVERLAYS)
def test_http_cannot_hide_what_https_has_set(section: str, overlay: Callable[[], bool], kept: bool) -> None:
    assert overlay() is kept


SAME = [
    # (section, Set-Cookie, the Cookie field beside a=1 of Path=/)
    ("5.7 step 23", "a=2; Path=/", "a=2"),
    ("5.7 step 23", "a=2; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=5", "a=2"),
    ("5.7 step 23", "A=2; Path=/", "a=1; A=2"),
    ("5.7 step 23", "a=2; Path=/a", "a=2; a=1"),
    ("5.7 step 23", "a=2; Path=/; Domain=www.shop.example", "a=1; a=2"),
    ("5.7 step 23", "a=2; Path=/; Domain=shop.example", "a=1; a=2"),
    ("5.7 step 23", "a; Path=/", "a=1; a"),
    ("5.7 step 24", "a=; Path=/; Max-Age=0", ""),
    ("5.7 step 24", "a=; Path=/a; Max-Age=0", "a=1"),
    ("5.7 step 24", "a=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""),
]


@pytest.mark.parametrize(("section", "line", "header"), SAME)
def test_name_domain_host_only_and_path_make_a_cookie(section: str, line: str, header: str) -> None:
    jar = CookieJar()
    jar.store(PAGE, ["a=1; Path=/", line], NOW)
    assert jar.header_for(PAGE, NOW) == header


ORDERS = [
    # (section, fields one second after the other, the Cookie field)
    ("5.8.3 step 2", ["a=1; Path=/", "b=1; Path=/a"], "b=1; a=1"),
    ("5.8.3 step 2", ["b=1; Path=/a", "a=1; Path=/"], "b=1; a=1"),
    ("5.8.3 step 2", ["z=1; Path=/a", "a=1; Path=/a"], "z=1; a=1"),
    ("5.8.3 step 2", ["z=1; Path=/a", "a=1; Path=/a", "z=2; Path=/a"], "z=2; a=1"),
    ("5.8.3 step 2", ["z=1; Path=/a", "a=1; Path=/a", "z=; Path=/a; Max-Age=0", "z=3; Path=/a"], "a=1; z=3"),
    ("5.8.3 step 2", ["a=1; Path=/a; Domain=shop.example", "b=1; Path=/a"], "a=1; b=1"),
]


@pytest.mark.parametrize(("section", "lines", "header"), ORDERS)
def test_the_longest_path_goes_first_then_the_oldest(section: str, lines: list[str], header: str) -> None:
    jar = CookieJar()
    for second, line in enumerate(lines):
        jar.store(PAGE, [line], NOW + second)
    assert jar.header_for(PAGE, NOW + len(lines)) == header
    together = CookieJar()
    together.store(PAGE, lines, NOW)
    assert together.header_for(PAGE, NOW) == header


LIVES = [
    # (section, Set-Cookie, seconds later, whether it is still sent)
    ("5.7", "a=1; Max-Age=10", 9.9, True),
    ("5.7", "a=1; Max-Age=10", 10, False),
    ("5.7", "a=1; Expires=Tue, 01 Jan 2030 00:00:10 GMT", 9.9, True),
    ("5.7", "a=1; Expires=Tue, 01 Jan 2030 00:00:10 GMT", 10, False),
    ("5.7", "a=1", 10 * LONGEST_LIFE, True),
    ("5.5", "a=1; Max-Age=99999999", LONGEST_LIFE - 1, True),
    ("5.5", "a=1; Max-Age=99999999", LONGEST_LIFE, False),
]


@pytest.mark.parametrize(("section", "line", "later", "sent"), LIVES)
def test_a_cookie_ends_with_its_life(section: str, line: str, later: float, sent: bool) -> None:
    jar = CookieJar()
    jar.store(PAGE, [line], NOW)
    assert (jar.header_for(PAGE, NOW + later) == "a=1") is sent


EVICTED = [
    # (section, fields with the second that they come in, names left of a jar with room for three of a domain)
    ("5.7 excess 1", {0: "a=1", 1: "b=1; Max-Age=1", 2: "c=1; Secure", 3: "d=1"}, ["a", "c", "d"]),
    ("5.7 excess 2", {0: "a=1; Secure", 1: "b=1", 2: "c=1", 3: "d=1"}, ["a", "c", "d"]),
    ("5.7 excess 2", {0: "a=1; Secure", 1: "b=1; Secure", 2: "c=1", 3: "d=1; Secure"}, ["a", "b", "d"]),
    ("5.7 excess 3", {0: "a=1; Secure", 1: "b=1; Secure", 2: "c=1; Secure", 3: "d=1"}, ["b", "c", "d"]),
    ("5.7 excess", {0: "a=1", 1: "b=1", 2: "c=1", 3: "a=2", 4: "d=1"}, ["a", "c", "d"]),
]


@pytest.mark.parametrize(("section", "fields", "left"), EVICTED)
def test_a_full_domain_parts_with(section: str, fields: dict[int, str], left: list[str]) -> None:
    jar = CookieJar(per_domain=3)
    for second, line in fields.items():
        jar.store(PAGE, [line], NOW + second)
    assert [each.name for each in jar] == left


def test_last_access_is_when_it_was_sent_or_set() -> None:
    """§5.7 step 5, §5.8.3 step 3."""
    jar = CookieJar(per_domain=2)
    jar.store(PAGE, ["a=1; Path=/a", "b=1; Path=/b"], NOW)
    jar.header_for(PAGE, NOW + 1)
    jar.store(PAGE, ["c=1"], NOW + 2)
    assert [each.name for each in jar] == ["a", "c"]


def test_a_replaced_cookie_keeps_its_age_and_nothing_else() -> None:
    """§5.7 step 23."""
    jar = CookieJar()
    jar.store(PAGE, ["a=1; Path=/; Secure; Max-Age=60; SameSite=Lax"], NOW)
    jar.store(PAGE, ["a=2; Path=/; HttpOnly"], NOW + 1)
    (kept,) = jar
    assert kept == Cookie("a", "2", "www.shop.example", http_only=True, created=NOW, used=NOW + 1)


LIKE_BROWSERS = [
    # (section, Set-Cookie, where a request goes, the Cookie field by RFC 6265bis, and by RFC 6265)
    ("5.6 step 3", "1", PAGE, "1", ""),
    ("5.6 step 3", "=1", PAGE, "1", ""),
    ("5.6 step 3", "=a=1", PAGE, "a=1", ""),
    ("5.6.3", "a=1; Domain=shop.example; Domain=", "https://shop.example/a/b", "", "a=1"),
    ("5.6.3", "a=1; Domain=other.example; Domain=", PAGE, "a=1", ""),
    ("5.6.3", "a=1; Domain=; Domain=shop.example", "https://shop.example/a/b", "a=1", "a=1"),
    ("5.6.3", "a=1; Domain=", "https://shop.example/a/b", "", ""),
    ("5.6.3", "a=1; Domain=", PAGE, "a=1", "a=1"),
]


@pytest.mark.parametrize(("section", "line", "target", "browsers", "rfc_6265"), LIKE_BROWSERS)
def test_where_rfc_6265_differs(section: str, line: str, target: str, browsers: str, rfc_6265: str) -> None:
    for like_browsers, expected in ((True, browsers), (False, rfc_6265)):
        jar = cookies.CookieJar(like_browsers=like_browsers)
        jar.store(PAGE, [line], NOW)
        assert jar.header_for(target, NOW) == expected
