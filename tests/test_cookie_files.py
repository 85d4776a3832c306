"""Cookies in files: Netscape's format and JSON, read and written."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from http.cookiejar import MozillaCookieJar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.cookies import Cookie, CookieFileError, CookieJar, read_cookies, write_cookies
from streamcrawl.cookies.files import read_jars, write_jars

NOW = 1_900_000_000.0

NETSCAPE = """\
# Netscape HTTP Cookie File
# https://curl.se/docs/http-cookies.html

.shop.example\tTRUE\t/\tTRUE\t1900000060\tid\t42
shop.example\tFALSE\t/a\tFALSE\t0\tlang\tde
#HttpOnly_www.shop.example\tFALSE\t/\tTRUE\t0\tsession\tx\ty z
#.old.example\tTRUE\t/\tFALSE\t0\tcommented\tout
shop.example\ttrue\t/\tfalse\t1900000060.5\tempty
127.0.0.1\tFALSE\t/\tFALSE\t-1\t\tnameless\r
"""


def write(folder: Path, text: str, name: str = "cookies.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_netscape_s_format(tmp_path: Path) -> None:
    assert read_cookies(write(tmp_path, NETSCAPE)) == [
        Cookie("id", "42", "shop.example", host_only=False, secure=True, expires=NOW + 60),
        Cookie("lang", "de", "shop.example", "/a"),
        Cookie("session", "x\ty z", "www.shop.example", secure=True, http_only=True),
        Cookie("empty", "", "shop.example", host_only=False, expires=NOW + 60.5),
        Cookie("", "nameless", "127.0.0.1"),
    ]


EXTENSION = {  # such as EditThisCookie and Cookie-Editor write
    "domain": ".shop.example",
    "expirationDate": NOW + 0.5,
    "hostOnly": False,
    "httpOnly": True,
    "name": "a",
    "path": "/",
    "sameSite": "no_restriction",
    "secure": True,
    "session": False,
    "storeId": "0",
    "value": "1",
    "id": 1,
}
PLAYWRIGHT = {
    "name": "a",
    "value": "1",
    "domain": "shop.example",
    "path": "/",
    "expires": -1,
    "httpOnly": False,
    "secure": False,
    "sameSite": "Lax",
}


@pytest.mark.parametrize(
    ("data", "cookies"),
    [
        (
            [EXTENSION],
            [Cookie("a", "1", "shop.example", "/", False, True, True, "none", NOW + 0.5)],
        ),
        (
            [EXTENSION | {"session": True, "sameSite": "unspecified"}],
            [Cookie("a", "1", "shop.example", "/", False, True, True)],
        ),
        (
            [EXTENSION | {"hostOnly": True, "domain": "shop.example", "sameSite": None}],
            [Cookie("a", "1", "shop.example", "/", True, True, True, "", NOW + 0.5)],
        ),
        ({"cookies": [PLAYWRIGHT], "origins": []}, [Cookie("a", "1", "shop.example", same_site="lax")]),
        ([PLAYWRIGHT | {"expires": NOW}], [Cookie("a", "1", "shop.example", same_site="lax", expires=NOW)]),
        # Selenium
        (
            [{"domain": ".a.example", "expiry": 1900000000, "httpOnly": True, "name": "n", "path": "/x", "value": "v"}],
            [Cookie("n", "v", "a.example", "/x", False, False, True, "", NOW)],
        ),
        (
            [EXTENSION | {"secure": 0, "httpOnly": 1, "sameSite": "Default", "path": ""}],
            [Cookie("a", "1", "shop.example", "/", False, False, True, "", NOW + 0.5)],
        ),
        # Text for a truth, what is no SameSite (§5.6.7: none), a path that is none (§5.6.4: the default one)
        (
            [EXTENSION | {"secure": "False", "httpOnly": "true", "session": "false", "sameSite": "often", "path": "x"}],
            [Cookie("a", "1", "shop.example", "/", False, False, True, "", NOW + 0.5)],
        ),
        (
            [EXTENSION | {"secure": 1.0, "sameSite": 0}],
            [Cookie("a", "1", "shop.example", "/", False, True, True, "", NOW + 0.5)],
        ),
        # Firefox's own names are passed over
        ([{"name": "n", "value": "v", "domain": "a.example", "firstPartyDomain": ""}], [Cookie("n", "v", "a.example")]),
        ([{"name": "n", "value": "\u20ac", "domain": "a.example"}], [Cookie("n", "\u00e2\u0082\u00ac", "a.example")]),
        ([], []),
    ],
)
def test_json(tmp_path: Path, data: Any, cookies: list[Cookie]) -> None:
    assert read_cookies(write(tmp_path, json.dumps(data), "state")) == cookies


def test_what_is_written_is_what_others_read(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    cookies = [
        Cookie("a", "1", "shop.example", "/", False, True, False, "", NOW + 60),
        Cookie("b", "2", "www.shop.example", "/x", http_only=True, expires=NOW + 60),
    ]
    write_cookies(path, cookies, now=NOW)
    theirs = MozillaCookieJar(path)
    theirs.load(ignore_expires=True)
    told = [(each.name, each.value, each.domain, each.path, each.secure, each.expires) for each in theirs]
    assert sorted(told) == [
        ("a", "1", ".shop.example", "/", True, NOW + 60),
        ("b", "2", "www.shop.example", "/x", False, NOW + 60),
    ]
    theirs.save(ignore_expires=True)
    assert read_cookies(path) == cookies


def test_playwright_s_storage_state_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state.JSON"
    write_cookies(path, [Cookie("a", "\u00c3\u00a9", "shop.example", host_only=False, same_site="strict")], now=NOW)
    assert json.loads(path.read_text()) == {
        "cookies": [
            {
                "name": "a",
                "value": "\u00e9",
                "domain": ".shop.example",
                "path": "/",
                "expires": -1,
                "httpOnly": False,
                "secure": False,
                "sameSite": "Strict",
            }
        ],
        "origins": [],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.example TRUE / FALSE 0 a 1", "line 1: 1 fields, not 7 with tabs between them"),
        ("\n\na.example\tTRUE\t/\tFALSE\t0", "line 3: 5 fields"),
        ("a.example\tYES\t/\tFALSE\t0\ta\t1", "line 1: subdomains is 'YES', neither TRUE nor FALSE"),
        ("a.example\tTRUE\t/\t1\t0\ta\t1", "line 1: secure is '1'"),
        ("a.example\tTRUE\t/\tFALSE\tsoon\ta\t1", "line 1: expires is 'soon', and no number"),
        ("a.example\tTRUE\t/\tFALSE\tinf\ta\t1", "line 1: expires is inf"),
        ("\tTRUE\t/\tFALSE\t0\ta\t1", "line 1: no domain"),
        ("caf\u00e9.example\tTRUE\t/\tFALSE\t0\ta\t1", "line 1: 'caf\u00e9.example' is no domain"),
        ("x\n" * 7, "line 5: 1 fields, .*; and 2 more"),
        ("[{]", "no JSON"),
        ('{"origins": []}', 'neither a list of cookies nor an object with a list "cookies"'),
        ('[{"name": "a", "value": "1"}]', "cookie 1: no domain"),
        ('[{"name": "a", "domain": "a.example"}]', "cookie 1: no value"),
        (
            '[{"name": 1, "value": "1", "domain": "a.example"}, 7]',
            "cookie 1: name is int, .*; cookie 2: int, and no obj",
        ),
        ('[{"name": "a", "value": "1", "domain": "a.example", "expires": "x"}]', "cookie 1: expires is 'x'"),
        ('[{"name": "\\ud800", "value": "1", "domain": "a.example"}]', "cookie 1: .*surrogates not allowed"),
        (json.dumps([EXTENSION, EXTENSION | {"secure": "maybe"}]), "cookie 2: secure is 'maybe', neither true nor"),
        (json.dumps([EXTENSION | {"session": "0"}]), "cookie 1: session is '0', neither true nor false"),
        (json.dumps([EXTENSION | {"hostOnly": 2}]), "cookie 1: host_only is 2, neither true nor false"),
        (json.dumps([EXTENSION | {"httpOnly": []}]), r"cookie 1: http_only is \[\], neither true nor false"),
        (json.dumps([EXTENSION | {"expires": 10**400}]), "cookie 1: expires is 1000"),
        ("[" * 100_000, "its JSON is nested too deeply"),
        ('{"cookies": ' + "[" * 100_000, "its JSON is nested too deeply"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CookieFileError, match=said) as caught:
        read_cookies(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_no_error_tells_a_value(tmp_path: Path) -> None:
    line = "a.example\tTRUE\t/\tFALSE\tsoon\tsession\tsecret"
    with pytest.raises(CookieFileError) as caught:
        read_cookies(write(tmp_path, line))
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CookieFileError, match=r"none\.txt: No such file"):
        read_cookies(tmp_path / "none.txt")
    with pytest.raises(CookieFileError, match=r"absent/cookies\.txt: No such file"):
        write_cookies(tmp_path / "absent" / "cookies.txt", [], now=NOW)
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(CookieFileError, match=r"folder\.txt: "):
        write_cookies(tmp_path / "folder.txt", [], now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.txt"]  # nothing half-written is left


@pytest.mark.parametrize("name", ["cookies.txt", "cookies.json"])
def test_what_has_expired_is_left_out_and_nobody_else_may_read_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    cookies = [Cookie("old", "1", "a.example", expires=NOW), Cookie("new", "1", "a.example", expires=NOW + 1)]
    write_cookies(path, cookies, now=NOW)
    assert [each.name for each in read_cookies(path)] == ["new"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_netscape_s_format_cannot_hold_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    cookies = [
        Cookie("a\tb", "1", "a.example"),
        Cookie("p", "1", "a.example", "/\t"),
        Cookie("v", "1\t2", "a.example"),
        Cookie("w", "1\n2", "a.example"),
        Cookie("c", "1", "a.example", expires=NOW + 1),
    ]
    assert write_jars(path, {None: cookies}, now=NOW) == ["a\tb", "p", "v", "w"]
    assert [each.name for each in read_cookies(path)] == ["c"]
    assert write_jars(tmp_path / "cookies.json", {None: cookies}, now=NOW) == []
    assert [each.value for each in read_cookies(tmp_path / "cookies.json")] == ["1", "1", "1\t2", "1\n2", "1"]


@pytest.mark.parametrize("line", ["t=v\tw", "t=\tx\ty", "a\tb=1", "t=1; Path=/a\tb"])
def test_no_server_can_make_the_file_unreadable_to_others(tmp_path: Path, line: str) -> None:
    jar = CookieJar()
    jar.store("http://a.example/", [line, "c=1; Max-Age=60"], NOW)
    write_cookies(tmp_path / "cookies.txt", jar, now=NOW)
    theirs = MozillaCookieJar(tmp_path / "cookies.txt")
    theirs.load(ignore_expires=True)
    assert "c" in [each.name for each in theirs]


@pytest.mark.parametrize("name", ["cookies.txt", "cookies.json"])
def test_what_never_came_over_a_wire_is_left_out(tmp_path: Path, name: str) -> None:
    cookies = [Cookie("a", "\udcff", "a.example"), Cookie("b", "1", "a.example")]
    assert write_jars(tmp_path / name, {None: cookies}, now=NOW) == ["a"]
    assert [each.name for each in read_cookies(tmp_path / name)] == ["b"]


def test_json_has_the_jars_by_name_and_netscape_s_format_one(tmp_path: Path) -> None:
    jars = {None: [Cookie("a", "1", "a.example")], "anna": [Cookie("b", "1", "a.example")], "": []}
    for name, names in (("cookies.json", [None, "anna"]), ("cookies.txt", [None])):
        write_jars(tmp_path / name, jars, now=NOW)
        assert [*read_jars(tmp_path / name)] == names
        assert read_cookies(tmp_path / name) == jars[None]


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, blacklist_characters="\x7f;"), max_size=6)
COOKIES = st.builds(
    Cookie,
    TEXT.map(lambda text: text.replace("=", "").strip(" ")),
    (TEXT | st.just("a\tb")).map(lambda text: text.strip(" ")),
    st.sampled_from(["shop.example", "www.shop.example", "a.co.uk", "127.0.0.1", "[::1]", "localhost"]),
    TEXT.map(lambda text: f"/{text}"),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "lax", "strict", "none"]),
    st.none() | st.floats(NOW + 1, NOW + 1e8),
).filter(lambda cookie: cookie.name or cookie.value)


def as_kept(cookie: Cookie) -> Cookie:
    return cookie


def as_netscape_keeps(cookie: Cookie) -> Cookie:
    return replace(cookie, same_site="", expires=cookie.expires and float(int(cookie.expires)))


def everything(cookie: Cookie) -> bool:
    return True


def no_tab(cookie: Cookie) -> bool:
    return "\t" not in cookie.value


@pytest.mark.parametrize(
    ("name", "holds", "kept"), [("c.json", everything, as_kept), ("c.txt", no_tab, as_netscape_keeps)]
)
def test_what_is_written_is_read_again(
    name: str, holds: Callable[[Cookie], bool], kept: Callable[[Cookie], Cookie]
) -> None:
    @given(st.lists(COOKIES, max_size=5))
    def check(cookies: list[Cookie]) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, name)
            write_cookies(path, cookies, now=NOW)
            once = path.read_bytes()
            assert read_cookies(path) == [kept(each) for each in cookies if holds(each)]
            write_cookies(path, read_cookies(path), now=NOW)
            assert path.read_bytes() == once

    check()


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["a.example", "\t", "TRUE", "/", "\n", "0", "#HttpOnly_"])).map("".join)
)
def test_no_file_breaks_the_reader(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder), text.encode("utf-8", "replace").decode())
        try:
            cookies = read_cookies(path)
        except CookieFileError:
            return
        jar = CookieJar()
        for each in cookies:
            jar.add(each, NOW)
        assert len(jar) <= len(cookies)
