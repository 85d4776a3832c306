"""The cookie jar, as tables of what RFC 6265bis says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl.cookies import (
    LONGEST_LIFE,
    Cookie,
    CookieJar,
    default_path,
    domain_matches,
    is_public_suffix,
    parse_date,
    parse_set_cookie,
    path_matches,
    split_set_cookie,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
PAGE = "https://www.shop.example/a/b"


@pytest.mark.parametrize(
    ("line", "name", "value", "attributes"),
    [
        ("a=1", "a", "1", {}),
        (" a = 1 ", "a", "1", {}),
        ("\ta\t=\t1\t", "a", "1", {}),
        ("a=b=c", "a", "b=c", {}),
        ("a=", "a", "", {}),
        ("=1", "", "1", {}),
        ("1", "", "1", {}),
        ("==1", "", "=1", {}),
        ('a="1; 2"', "a", '"1', {'2"': ""}),
        ("a=1 2,3", "a", "1 2,3", {}),
        ("a=1;", "a", "1", {}),
        ("a=1; Secure", "a", "1", {"secure": ""}),
        ("a=1;secure=no;HTTPONLY", "a", "1", {"secure": "no", "httponly": ""}),
        ("a=1; Path=/x; path = /y ", "a", "1", {"path": "/y"}),
        ("a=1; Path=/x; Path", "a", "1", {"path": ""}),
        ("a=1; Domain=.A.Example", "a", "1", {"domain": ".A.Example"}),
        ("a=1; Max-Age=5; Max-Age=x", "a", "1", {"max-age": "5"}),
        ("a=1; Max-Age=-5", "a", "1", {"max-age": "-5"}),
        ("a=1; Max-Age=", "a", "1", {}),
        ("a=1; Max-Age=-", "a", "1", {}),
        ("a=1; Max-Age=1.5", "a", "1", {}),
        ("a=1; Max-Age=+5", "a", "1", {}),
        ("a=1; Max-Age=\u00b2", "a", "1", {}),
        ("a=1; Expires=never", "a", "1", {}),
        ("a=1; Path=/" + "x" * 1024, "a", "1", {}),
        ("a=1; Path=/" + "x" * 1023, "a", "1", {"path": "/" + "x" * 1023}),
        ("caf\u00c3\u00a9=\u00e2\u0082\u00ac", "caf\u00c3\u00a9", "\u00e2\u0082\u00ac", {}),
        ("n" * 96 + "=" + "v" * 4000, "n" * 96, "v" * 4000, {}),
    ],
)
def test_a_field_taken_apart(line: str, name: str, value: str, attributes: dict[str, str]) -> None:
    assert split_set_cookie(line) == (name, value, attributes)


@pytest.mark.parametrize(
    "line",
    ["", " ", ";", "=", " = ; Secure", "a=1\n2", "a=\x00", "a=1; Path=/\x7f", "a\r=1", "n" * 97 + "=" + "v" * 4000],
)
def test_a_field_that_is_ignored(line: str) -> None:
    assert split_set_cookie(line) is None


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06 08:49:37"),
        ("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06 08:49:37"),
        ("Sun Nov  6 08:49:37 1994", "1994-11-06 08:49:37"),
        ("6 november 1994 8:9:7", "1994-11-06 08:09:07"),
        ("1994 nov 6 08:49:37", "1994-11-06 08:49:37"),
        ("94 nov 6 08:49:37", None),  # what comes first and has two digits is the day
        ("08:49:37 6 Nov 1994 09:00:00", "1994-11-06 08:49:37"),
        ("Mon, 06 Nov 1994 08:49:37 +0300", "1994-11-06 08:49:37"),  # neither weekday nor zone is looked at
        ("06 Nov 69 08:49:37", "2069-11-06 08:49:37"),
        ("06 Nov 70 08:49:37", "1970-11-06 08:49:37"),
        ("06 Nov 00 08:49:37", "2000-11-06 08:49:37"),
        ("06 Nov 1601 08:49:37", "1601-11-06 08:49:37"),
        ("06 Nov 1600 08:49:37", None),
        ("06 Nov 9999 08:49:37", "9999-11-06 08:49:37"),
        ("06 Nov 19940 08:49:37", None),
        ("06 Nov 1994th 08:49:37zulu", "1994-11-06 08:49:37"),
        ("6th Novembre 1994 08:49:37", "1994-11-06 08:49:37"),
        ("29 Feb 2024 00:00:00", "2024-02-29 00:00:00"),
        ("29 Feb 2023 00:00:00", None),
        ("00 Nov 1994 08:49:37", None),
        ("32 Nov 1994 08:49:37", None),
        ("06 Nov 1994 24:00:00", None),
        ("06 Nov 1994 08:60:00", None),
        ("06 Nov 1994 08:49:60", None),
        ("06 Nov 1994 008:49:37", None),
        ("06 Nov 1994 08:49", None),
        ("06 Nov 1994", None),
        ("06 Foo 1994 08:49:37", None),
        ("0", None),
        ("", None),
    ],
)
def test_dates(text: str, date: str | None) -> None:
    seconds = parse_date(text)
    assert (None if seconds is None else str(datetime.fromtimestamp(seconds, UTC))[:19]) == date


@pytest.mark.parametrize(
    ("host", "domain", "matches"),
    [
        ("a.example", "a.example", True),
        ("www.a.example", "a.example", True),
        ("wwwa.example", "a.example", False),
        ("example", "a.example", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.1", False),
        ("[::1]", "[::1]", True),
    ],
)
def test_domains_that_match(host: str, domain: str, matches: bool) -> None:
    assert domain_matches(host, domain) is matches


@pytest.mark.parametrize(
    ("path", "cookie_path", "matches"),
    [
        ("/", "/", True),
        ("/a", "/", True),
        ("/a", "/a", True),
        ("/a/", "/a", True),
        ("/a/b", "/a", True),
        ("/a/b", "/a/", True),
        ("/a", "/a/", False),
        ("/ab", "/a", False),
        ("/A", "/a", False),
    ],
)
def test_paths_that_match(path: str, cookie_path: str, matches: bool) -> None:
    assert path_matches(path, cookie_path) is matches


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/", "/"), ("/a", "/"), ("/a/", "/a"), ("/a/b", "/a"), ("/a/b/", "/a/b"), ("", "/"), ("a/b", "/")],
)
def test_default_paths(path: str, expected: str) -> None:
    assert default_path(path) == expected


@pytest.mark.parametrize(
    ("domain", "public"),
    [
        ("com", True),
        ("co.uk", True),
        ("github.io", True),
        ("someone.github.io", False),
        ("shop.example", False),
        ("localhost", True),
        ("www.ck", False),
        ("127.0.0.1", False),
        ("[::1]", False),
    ],
)
def test_public_suffixes(domain: str, public: bool) -> None:
    assert is_public_suffix(domain) is public


# (where it is set, Set-Cookie, where a request goes, the Cookie header)
SENT = [
    (PAGE, "a=1", PAGE, "a=1"),
    (PAGE, "1", PAGE, "1"),
    (PAGE, "=1", PAGE, "1"),
    (PAGE, "a=", PAGE, "a="),
    (PAGE, "a=1", "http://www.shop.example/a/b", "a=1"),
    (PAGE, "a=1", "https://www.shop.example:8443/a/b", "a=1"),
    # host-only, Domain
    (PAGE, "a=1", "https://shop.example/a/b", ""),
    (PAGE, "a=1", "https://x.www.shop.example/a/b", ""),
    (PAGE, "a=1; Domain=shop.example", "https://shop.example/a/b", "a=1"),
    (PAGE, "a=1; Domain=.SHOP.example", "https://x.y.shop.example/a/b", "a=1"),
    (PAGE, "a=1; Domain=www.shop.example", "https://shop.example/a/b", ""),
    (PAGE, "a=1; Domain=", "https://www.shop.example/a/b", "a=1"),
    (PAGE, "a=1; Domain=", "https://x.www.shop.example/a/b", ""),
    (PAGE, "a=1; Domain=shop.example; Domain=", "https://shop.example/a/b", ""),
    (PAGE, "a=1; Domain=x.www.shop.example", PAGE, ""),
    (PAGE, "a=1; Domain=other.example", PAGE, ""),
    (PAGE, "a=1; Domain=op.example", PAGE, ""),
    (PAGE, "a=1; Domain=caf\u00e9.example", PAGE, ""),
    (PAGE, "a=1; Domain=..", PAGE, ""),
    # public suffixes
    (PAGE, "a=1; Domain=example", PAGE, ""),
    ("https://a.co.uk/", "a=1; Domain=co.uk", "https://b.co.uk/", ""),
    ("https://a.co.uk/", "a=1; Domain=co.uk", "https://a.co.uk/", ""),
    ("https://a.github.io/", "a=1; Domain=github.io", "https://a.github.io/", ""),
    ("https://github.io/", "a=1; Domain=github.io", "https://github.io/", "a=1"),
    ("https://github.io/", "a=1; Domain=github.io", "https://a.github.io/", ""),
    # names without dots, and addresses
    ("http://localhost:8000/", "a=1", "http://localhost:9000/", "a=1"),
    ("http://localhost/", "a=1; Domain=localhost", "http://localhost/", "a=1"),
    ("http://127.0.0.1/", "a=1", "http://127.0.0.1:81/", "a=1"),
    ("http://127.0.0.1/", "a=1; Domain=127.0.0.1", "http://127.0.0.1/", "a=1"),
    ("http://127.0.0.1/", "a=1; Domain=0.0.1", "http://127.0.0.1/", ""),
    ("http://127.0.0.1/", "a=1", "http://128.0.0.1/", ""),
    ("http://[::1]:80/", "a=1", "http://[::1]/", "a=1"),
    # Path
    (PAGE, "a=1", "https://www.shop.example/a", "a=1"),
    (PAGE, "a=1", "https://www.shop.example/a?x=/y", "a=1"),
    (PAGE, "a=1", "https://www.shop.example/", ""),
    (PAGE, "a=1", "https://www.shop.example/?/a/b", ""),
    (PAGE, "a=1", "https://www.shop.example/ab", ""),
    (PAGE, "a=1; Path=/", "https://www.shop.example/", "a=1"),
    (PAGE, "a=1; Path=/x", "https://www.shop.example/x/y", "a=1"),
    (PAGE, "a=1; Path=/x", PAGE, ""),
    (PAGE, "a=1; Path=x", "https://www.shop.example/a/c", "a=1"),
    (PAGE, "a=1; Path=/x; Path=", "https://www.shop.example/a/c", "a=1"),
    # Secure
    (PAGE, "a=1; Secure", PAGE, "a=1"),
    (PAGE, "a=1; Secure", "http://www.shop.example/a/b", ""),
    ("http://www.shop.example/", "a=1; Secure", "https://www.shop.example/", ""),
    # HttpOnly, SameSite
    (PAGE, "a=1; HttpOnly", PAGE, "a=1"),
    (PAGE, "a=1; SameSite=Strict", PAGE, "a=1"),
    (PAGE, "a=1; SameSite=None; Secure", PAGE, "a=1"),
    (PAGE, "a=1; SameSite=None", PAGE, ""),
    (PAGE, "a=1; SameSite=None; SameSite=Odd", PAGE, "a=1"),
    # names with a promise
    (PAGE, "__Secure-a=1; Secure", PAGE, "__Secure-a=1"),
    (PAGE, "__Secure-a=1", PAGE, ""),
    (PAGE, "__SECURE-a=1", PAGE, ""),
    (PAGE, "__Host-a=1; Secure; Path=/", PAGE, "__Host-a=1"),
    (PAGE, "__Host-a=1; Secure; Path=/; Domain=", PAGE, "__Host-a=1"),
    (PAGE, "__Host-a=1; Secure; Path=/; Domain=www.shop.example", PAGE, ""),
    (PAGE, "__Host-a=1; Secure", PAGE, ""),
    ("https://www.shop.example/", "__host-a=1; Secure", PAGE, ""),
    (PAGE, "__Host-a=1; Path=/", PAGE, ""),
    (PAGE, "=__Host-a=1; Secure; Path=/", PAGE, ""),
    (PAGE, "=__secure-a=1; Secure", PAGE, ""),
    # the end of a life
    (PAGE, "a=1; Max-Age=1", PAGE, "a=1"),
    (PAGE, "a=1; Max-Age=0", PAGE, ""),
    (PAGE, "a=1; Max-Age=-1", PAGE, ""),
    (PAGE, "a=1; Expires=Mon, 01 Jan 2029 00:00:00 GMT", PAGE, ""),
    (PAGE, "a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT", PAGE, "a=1"),
    (PAGE, "a=1; Expires=Mon, 01 Jan 2029 00:00:00 GMT; Max-Age=5", PAGE, "a=1"),
    (PAGE, "a=1; Max-Age=0; Expires=Wed, 01 Jan 2031 00:00:00 GMT", PAGE, ""),
    (PAGE, "a=1; Expires=nonsense", PAGE, "a=1"),
]


@pytest.mark.parametrize(("page", "line", "target", "header"), SENT)
def test_what_is_set_here_is_sent_there(page: str, line: str, target: str, header: str) -> None:
    jar = CookieJar()
    jar.store(page, [line], NOW)
    assert jar.header_for(target, NOW) == header


def test_the_longest_path_goes_first_then_the_oldest() -> None:
    jar = CookieJar()
    jar.store(PAGE, ["late=1; Path=/", "deep=1; Path=/a/b"], NOW + 1)
    jar.store(PAGE, ["last=1; Path=/", "a=1; Path=/a"], NOW + 2)
    jar.store("https://shop.example/", ["wide=1; Domain=shop.example; Path=/"], NOW + 3)
    jar.store(PAGE, ["late=2; Path=/"], NOW + 4)
    assert jar.header_for(PAGE, NOW + 5) == "deep=1; a=1; late=2; last=1; wide=1"


def test_a_cookie_is_told_apart_by_name_domain_path_and_host_only() -> None:
    jar = CookieJar()
    jar.store(PAGE, ["a=1; Path=/", "A=2; Path=/", "a=3; Path=/; Domain=www.shop.example", "a=4; Path=/a"], NOW)
    assert len(jar) == 4
    jar.store(PAGE, ["a=5; Path=/; HttpOnly"], NOW + 1)
    assert len(jar) == 4
    assert jar.header_for(PAGE, NOW) == "a=4; a=5; A=2; a=3"
    first = next(each for each in jar if each.value == "5")
    assert (first.created, first.used, first.http_only) == (NOW, NOW, True)


def test_a_date_in_the_past_removes() -> None:
    jar = CookieJar()
    jar.store(PAGE, ["a=1", "b=1"], NOW)
    jar.store(PAGE, ["a=; Max-Age=0"], NOW)
    assert (jar.header_for(PAGE, NOW), len(jar)) == ("b=1", 1)


def test_a_cookie_ends_with_its_life() -> None:
    jar = CookieJar()
    jar.store(PAGE, ["a=1; Max-Age=10"], NOW)
    assert jar.header_for(PAGE, NOW + 9.9) == "a=1"
    assert jar.header_for(PAGE, NOW + 10) == ""


@pytest.mark.parametrize("attribute", ["Max-Age=" + "9" * 1000, "Expires=Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_life_is_longer_than_400_days(attribute: str) -> None:
    cookie = parse_set_cookie(f"a=1; {attribute}", "a.example", "/", True, NOW)
    assert cookie is not None
    assert cookie.expires == NOW + LONGEST_LIFE


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("a=2", False),
        ("a=2; Path=/a/b/c", False),
        ("a=2; Domain=shop.example", False),
        ("a=2; Path=/", True),
        ("b=2", True),
    ],
)
def test_http_cannot_hide_what_https_has_set(line: str, kept: bool) -> None:
    jar = CookieJar()
    jar.store(PAGE, ["a=1; Secure; Path=/a"], NOW)
    jar.store("http://www.shop.example/a/b", [line], NOW)
    assert len(jar) == (2 if kept else 1)
    assert "a=1" in jar.header_for(PAGE, NOW)


def test_your_own_cookies_are_for_the_whole_host() -> None:
    jar = CookieJar()
    jar.set(PAGE, {"mine": "caf\u00e9", "b": "x y"}, NOW)
    assert jar.header_for("https://www.shop.example/", NOW) == "mine=caf\u00c3\u00a9; b=x y"
    assert jar.header_for("http://www.shop.example/", NOW) == ""
    assert jar.header_for("https://shop.example/", NOW) == ""


@pytest.mark.parametrize(
    ("name", "value"), [("", "1"), ("a=b", "1"), ("a", "1;2"), ("a", "1\r\nX: y"), ("a;", "1"), (" a", "1")]
)
def test_your_own_cookie_that_would_not_arrive(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="no semicolons"):
        CookieJar().set(PAGE, {name: value}, NOW)


def test_a_full_domain_loses_the_expired_then_the_insecure_then_the_least_used() -> None:
    jar = CookieJar(per_domain=3)
    jar.store(PAGE, ["a=1; Path=/; Secure", "b=1; Path=/", "c=1; Path=/x"], NOW)
    jar.header_for("https://www.shop.example/x", NOW + 1)
    jar.header_for("https://www.shop.example/", NOW + 2)
    jar.store(PAGE, ["d=1; Path=/"], NOW + 3)
    assert [each.name for each in jar] == ["a", "b", "d"]  # c was used least, of those that are not secure
    jar.store(PAGE, ["e=1; Path=/; Max-Age=1"], NOW + 4)
    assert [each.name for each in jar] == ["a", "d", "e"]
    jar.store(PAGE, ["f=1; Path=/"], NOW + 6)
    assert [each.name for each in jar] == ["a", "d", "f"]  # e had expired


def test_a_full_jar_loses_the_domain_heard_of_longest_ago() -> None:
    jar = CookieJar(total=3)
    for number in (1, 2, 3):
        jar.store(f"https://site{number}.example/", ["a=1"], NOW)
    jar.store("https://site1.example/", ["a=2"], NOW)
    jar.store("https://site4.example/", ["a=1"], NOW)
    assert sorted(each.domain for each in jar) == ["site1.example", "site3.example", "site4.example"]
    assert len(jar) == 3


def test_one_domain_cannot_have_more_than_the_whole_jar() -> None:
    jar = CookieJar(total=2)
    jar.store(PAGE, ["a=1", "b=1", "c=1"], NOW)
    assert (len(jar), [each.name for each in jar]) == (2, ["b", "c"])


def test_a_domain_that_has_no_cookies_left_is_forgotten() -> None:
    jar = CookieJar()
    for number in range(1_000):
        jar.store(f"https://site{number}.example/", ["a=1", "a=; Max-Age=0"], NOW)
    assert repr(jar) == "<CookieJar 0 cookies of 0 domains>"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a=1", []),
        ("a=1; Max-Age=60; HttpOnly", ["shop.example"]),
        ("a=2", ["shop.example"]),
        ("b=1", ["shop.example"]),
        ("a=; Max-Age=0", ["shop.example"]),
        ("absent=; Max-Age=0", []),
        ("=", []),
        ("a=1; Secure; Domain=other.example", []),
    ],
)
def test_changes_are_told(line: str, told: list[str]) -> None:
    changed: list[str] = []
    jar = CookieJar()
    jar.store(PAGE, ["a=1"], NOW)
    jar.changed = changed.append
    jar.store(PAGE, [line], NOW + 1)
    jar.header_for(PAGE, NOW + 2)
    assert changed == told


def test_what_has_to_go_is_told_as_a_change() -> None:
    changed: list[str] = []
    jar = CookieJar(total=2)
    jar.changed = changed.append
    for number in (1, 2, 3):
        jar.store(f"https://site{number}.example/", ["a=1"], NOW)
    assert changed == ["site1.example", "site2.example", "site3.example", "site1.example"]
    jar.clear()
    assert changed[4:] == ["site2.example", "site3.example"]


def test_the_cookies_of_a_domain() -> None:
    jar = CookieJar()
    jar.store(PAGE, ["a=1"], NOW)
    jar.store("https://api.shop.example/", ["b=1"], NOW)
    jar.store("https://other.example/", ["c=1"], NOW)
    assert [each.name for each in jar.of("shop.example")] == ["a", "b"]
    assert jar.of("unknown.example") == []


@pytest.mark.parametrize("bounds", [{"per_domain": 0}, {"total": -1}])
def test_bounds_are_checked(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        CookieJar(**bounds)


def test_a_jar_can_be_filled_and_emptied() -> None:
    jar = CookieJar()
    jar.add(Cookie("a", "1", "shop.example", host_only=False), NOW)
    jar.add(Cookie("old", "1", "shop.example", expires=NOW - 1), NOW)
    assert jar.header_for(PAGE, NOW) == "a=1"
    assert repr(jar) == "<CookieJar 1 cookies of 1 domains>"
    jar.clear()
    assert (list(jar), len(jar), jar.header_for(PAGE, NOW)) == ([], 0, "")


def test_a_url_without_a_host_has_no_cookies() -> None:
    jar = CookieJar()
    jar.store(PAGE, ["a=1"], NOW)
    assert jar.header_for("file:///a/b", NOW) == ""
    assert jar.header_for("data:text/plain,x", NOW) == ""


PIECES = st.sampled_from(
    [
        "a=1",
        "=",
        ";",
        " ",
        "Domain=",
        "Path=/",
        "Expires=",
        "Max-Age=",
        "Secure",
        "__Host-",
        ".",
        "shop.example",
        "06 Nov 94 1:2:3",
    ]
)
LINES = st.lists(PIECES | st.text(st.characters(max_codepoint=255), max_size=8), max_size=12).map("".join)


@settings(deadline=None)  # the first one loads the public suffix list
@given(LINES)
def test_whatever_a_server_sends_the_jar_stands(line: str) -> None:
    jar = CookieJar()
    jar.store(PAGE, [line], NOW)
    for cookie in jar:
        assert cookie.path.startswith("/")
        assert domain_matches("www.shop.example", cookie.domain)
    header = jar.header_for(PAGE, NOW)
    assert not any(character in header for character in "\r\n\x00;")


@given(st.text())
def test_no_date_breaks_the_parser(text: str) -> None:
    seconds = parse_date(text)
    assert seconds is None or -11_644_473_600 <= seconds <= 253_402_300_799
