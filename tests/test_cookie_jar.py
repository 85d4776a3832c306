"""The cookie jar: its bounds, what users put in, what it tells. The rules of RFC 6265bis: test_cookie_rules.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl.cookies import Cookie, CookieJar, Refused, parse_date
from streamcrawl.cookies.cookie import domain_matches, group_of

NOW = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
PAGE = "https://www.shop.example/a/b"


def test_your_own_cookies_are_for_the_whole_host() -> None:
    jar = CookieJar()
    jar.set(PAGE, {"mine": "caf\u00e9", "b": "x y"}, NOW)
    assert jar.header_for("https://www.shop.example/", NOW) == "mine=caf\u00c3\u00a9; b=x y"
    assert jar.header_for("http://www.shop.example/", NOW) == ""
    assert jar.header_for("https://shop.example/", NOW) == ""


OWN: list[tuple[Any, list[tuple[object, ...]]]] = [
    # (what is given with a request to PAGE, (name, value, domain, path, host_only, secure) of what is kept)
    ({"a": "1"}, [("a", "1", "www.shop.example", "/", True, True)]),
    ({"a": 1}, [("a", "1", "www.shop.example", "/", True, True)]),
    ({"a": 2.5}, [("a", "2.5", "www.shop.example", "/", True, True)]),
    ({"a": True}, [("a", "True", "www.shop.example", "/", True, True)]),
    ([{"name": "a", "value": "1"}], [("a", "1", "www.shop.example", "/", True, True)]),
    ([{"name": "", "value": "1"}], [("", "1", "www.shop.example", "/", True, True)]),
    ([{"name": "a", "value": "1", "secure": False}], [("a", "1", "www.shop.example", "/", True, False)]),
    ([{"name": "a", "value": "1", "path": "/x"}], [("a", "1", "www.shop.example", "/x", True, True)]),
    ([{"name": "a", "value": "1", "domain": "shop.example"}], [("a", "1", "shop.example", "/", False, True)]),
    ([{"name": "a", "value": "1", "domain": ".Shop.Example"}], [("a", "1", "shop.example", "/", False, True)]),
    (
        [{"name": "a", "value": "1", "domain": "www.shop.example", "hostOnly": True}],
        [("a", "1", "www.shop.example", "/", True, True)],
    ),
    (
        ({"name": "a", "value": 1}, {"name": "b", "value": "\u20ac"}),
        [(n, v, "www.shop.example", "/", True, True) for n, v in (("a", "1"), ("b", "\u00e2\u0082\u00ac"))],
    ),
    ([Cookie("a", "\u00e9", "shop.example", "/a", False)], [("a", "\u00e9", "shop.example", "/a", False, False)]),
]


@pytest.mark.parametrize(("given", "kept"), OWN)
def test_your_own_cookies_may_be_a_dict_or_dicts_or_cookies(given: Any, kept: list[tuple[object, ...]]) -> None:
    jar = CookieJar()
    jar.set(PAGE, given, NOW)
    fields = [(each.name, each.value, each.domain, each.path, each.host_only, each.secure) for each in jar]
    assert fields == kept
    assert [each.created for each in jar] == [NOW] * len(kept)


def test_your_own_cookies_of_a_host_that_is_a_public_suffix_or_an_address() -> None:
    jar = CookieJar()
    jar.set("https://github.io/", [{"name": "a", "value": "1", "domain": "github.io"}], NOW)
    jar.set("http://127.0.0.1:80/", [{"name": "a", "value": "1", "domain": "127.0.0.1"}], NOW)
    assert [(each.domain, each.host_only) for each in jar] == [("github.io", True), ("127.0.0.1", False)]
    assert jar.header_for("https://x.github.io/", NOW) == ""
    assert jar.header_for("http://127.0.0.1/", NOW) == "a=1"


def test_your_own_cookies_may_end() -> None:
    jar = CookieJar()
    fields = {"name": "a", "value": "1", "sameSite": "Strict", "httpOnly": True, "expires": NOW + 5}
    jar.set(PAGE, [fields], NOW)
    (kept,) = jar
    assert (kept.same_site, kept.http_only, kept.expires) == ("strict", True, NOW + 5)
    assert jar.header_for(PAGE, NOW + 5) == ""


@pytest.mark.parametrize(
    ("cookies", "error", "said"),
    [
        ({"": "1"}, ValueError, "it has no name"),
        ({"a=b": "1"}, ValueError, "no = in the name"),
        ({"a": "1;2"}, ValueError, "no semicolons"),
        ({"a": "1\r\nX: y"}, ValueError, "no control characters"),
        ({"a;": "1"}, ValueError, "no semicolons"),
        ({" a": "1"}, ValueError, "cookie ' a'"),
        ({"ok": "1", "a": None}, ValueError, "^cookie 'a': no value$"),
        ({1: "a"}, ValueError, "^cookie 1: name is int"),
        ({"a": b"1"}, ValueError, "value is bytes"),
        ("a=1", TypeError, "cookies=str"),
        (["a=1"], TypeError, "not str"),
        (5, TypeError, "cookies=int: a dict, or a list of dicts or Cookies"),
        ([{"name": "a"}], ValueError, "^cookie 'a': no value$"),
        ([{"name": "a", "value": "1"}, {"value": "1"}], ValueError, "^cookie 2: no name$"),
        ([{"name": "a", "value": "1", "secure": "false"}], ValueError, "^cookie 'a': secure is 'false', neither true"),
        ([{"name": "a", "value": "1", "same_site": "sometimes"}], ValueError, "^cookie 'a': same_site is 'sometimes'"),
        ([{"name": "a", "value": "1", "path": "rel"}], ValueError, "^cookie 'a': path is 'rel', and does not start"),
        ([{"name": "a", "value": "1", 5: "x"}], ValueError, "^cookie 'a': unknown field 5"),
        ([{"name": "a", "value": "1", "expires": 10**400}], ValueError, "^cookie 'a': expires is 1000"),
        ([Cookie("a", "1", "www.shop.example", "rel")], ValueError, "^cookie 'a': path is 'rel', and does not start"),
        ([Cookie("a", "1", "www.shop.example", same_site="Lax")], ValueError, "^cookie 'a': same_site is 'Lax'"),
        ([Cookie("a", 1, "www.shop.example")], ValueError, "^cookie 'a': value is int"),  # type: ignore[arg-type]
        ([{"name": "", "value": ""}], ValueError, "neither name nor value"),
        ([{"name": "a", "value": "1", "domian": "x"}], ValueError, "unknown field 'domian'"),
        ([{"name": "a", "value": "1", "domain": "other.example"}], ValueError, "not in the domain other.example"),
        ([{"name": "a", "value": "1", "domain": "example"}], ValueError, "example is a public suffix"),
        ([{"name": "a", "value": "1", "domain": "https://shop.example"}], ValueError, "is no domain"),
        ([{"name": "a", "value": "1", "expires": "tomorrow"}], ValueError, "'tomorrow', and no number of seconds"),
        ([Cookie("a", "1", "shop.example")], ValueError, "for shop.example alone, not for www.shop.example"),
    ],
)
def test_your_own_cookie_that_would_not_arrive(cookies: Any, error: type[Exception], said: str) -> None:
    jar = CookieJar()
    with pytest.raises(error, match=said):
        jar.set(PAGE, cookies, NOW)
    assert len(jar) == 0


@pytest.mark.parametrize(
    "cookies",
    [
        {"sid": "secret;x"},
        {"sid": "secret\n"},
        {"sid=secret": ""},
        {"sid;secret": "1"},
        [{"name": "sid", "value": "secret", "path": "rel"}],
        [{"name": "sid", "value": ["secret"]}],
        [Cookie("sid", "secret\n", "www.shop.example")],
    ],
)
def test_no_error_tells_a_value(cookies: Any) -> None:
    with pytest.raises(ValueError, match=r"^cookie 'sid': ") as caught:
        CookieJar().set(PAGE, cookies, NOW)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_put_in_is_a_copy() -> None:
    jars, mine = [CookieJar(), CookieJar()], Cookie("a", "1", "www.shop.example")
    jars[0].add(mine, NOW)
    jars[1].set(PAGE, [mine], NOW + 1)
    jars[0].header_for(PAGE, NOW + 9)
    assert (mine.created, mine.used) == (0.0, 0.0)
    assert [(each.created, each.used) for jar in jars for each in jar] == [(NOW, NOW + 9), (NOW + 1, NOW + 1)]


def test_what_comes_of_each_field_is_told() -> None:
    jar = CookieJar()
    results = jar.store(PAGE, ["a=1", "=", "a=; Max-Age=0", "b=1; Domain=example"], NOW)
    assert [each if isinstance(each, Refused) else (each.name, each.value) for each in results] == [
        ("a", "1"),
        Refused("=", "neither name nor value"),
        ("a", ""),
        Refused("b=1; Domain=example", "example is a public suffix"),
    ]
    assert len(jar) == 0


def test_what_has_no_name_is_refused() -> None:
    jar = CookieJar()
    results = jar.store(PAGE, ["a", "=b", "c=1", "=c=2"], NOW)
    assert [isinstance(each, Refused) for each in results] == [True, True, False, True]
    assert jar.header_for(PAGE, NOW) == "c=1"


def test_a_full_jar_parts_with_what_has_expired_then_with_what_was_used_longest_ago() -> None:
    jar = CookieJar(total=3)
    for number in (1, 2, 3):
        jar.store(f"https://site{number}.example/", ["a=1", "b=1; Max-Age=1"] if number == 3 else ["a=1"], NOW)
    assert sorted(each.domain for each in jar) == ["site2.example", "site3.example", "site3.example"]
    jar.header_for("https://site2.example/", NOW + 1)
    jar.store("https://site4.example/", ["a=1"], NOW + 2)  # b has expired
    assert sorted(each.domain for each in jar) == ["site2.example", "site3.example", "site4.example"]
    jar.store("https://site5.example/", ["a=1"], NOW + 3)
    assert sorted(each.domain for each in jar) == ["site2.example", "site4.example", "site5.example"]


def test_of_what_was_used_at_one_time_the_domain_heard_of_longest_ago_goes() -> None:
    jar = CookieJar(total=3)
    for number in (1, 2, 3, 1, 4):
        jar.store(f"https://site{number}.example/", ["a=1"], NOW)
    assert sorted(each.domain for each in jar) == ["site1.example", "site3.example", "site4.example"]


def test_a_jar_over_many_hosts_stays_within_its_bound() -> None:
    jar, most = CookieJar(total=100), 0
    for number in range(2_000):
        jar.store(f"https://site{number}.example/", ["a=1"], NOW + number)
        most = max(most, len(jar))
        assert jar.header_for(f"https://site{number}.example/", NOW + number) == "a=1"
    assert most == 100
    assert 90 <= len(jar) == sum(len(jar.of(f"site{number}.example")) for number in range(1_900, 2_000))


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
def test_bounds_are_checked(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        CookieJar(**bounds)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"total": "a"}, r"CookieJar\(total='a'\): a whole number is needed"),
        ({"per_domain": 1.5}, r"CookieJar\(per_domain=1\.5\): a whole number is needed"),
        ({"totl": 5}, "did you mean 'total'"),
    ],
)
def test_what_is_no_bound_is_told_by_its_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        CookieJar(**options)


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
        assert group_of(cookie.domain) == "shop.example"
    header = jar.header_for(PAGE, NOW)
    assert not any(character in header for character in "\r\n\x00;")


@given(st.text())
def test_no_date_breaks_the_parser(text: str) -> None:
    seconds = parse_date(text)
    assert seconds is None or -11_644_473_600 <= seconds <= 253_402_300_799
