"""curl commands to requests and back; what is sent is compared with what curl itself sends."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl import Headers, Request
from streamcrawl.requests import request_from_curl, to_curl
from streamcrawl.requests.shell_words import words

FORM = ("Content-Type", "application/x-www-form-urlencoded")
BASIC = ("Authorization", f"Basic {b64encode(b'ada:l:o').decode()}")
U = "http://a.test/"


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("curl http://a.test/", {}),
        ("curl a.test/x", {"url": "http://a.test/x"}),
        ("curl localhost:8000/x", {"url": "http://localhost:8000/x"}),
        ("curl --url 'http://a.test/?q=a b'", {"url": "http://a.test/?q=a b"}),
        ("curl -X DELETE http://a.test/", {"method": "DELETE"}),
        ("curl -XPUT http://a.test/", {"method": "PUT"}),
        ("curl -I http://a.test/", {"method": "HEAD"}),
        ("curl http://a.test/ -d a=1 -d b=2", {"method": "POST", "body": b"a=1&b=2", "headers": [FORM]}),
        ("curl http://a.test/ --data-raw @x", {"method": "POST", "body": b"@x", "headers": [FORM]}),
        ("curl http://a.test/ -d ''", {"method": "POST", "headers": [FORM]}),
        ("curl -G http://a.test/?x=1#f -d a=1 -d b=2", {"url": "http://a.test/?x=1&a=1&b=2#f"}),
        ("curl -G http://a.test/ --data-urlencode 'q=a b&ü'", {"url": "http://a.test/?q=a%20b%26%C3%BC"}),
        ("curl http://a.test/ --data-urlencode 'a b'", {"method": "POST", "body": b"a%20b", "headers": [FORM]}),
        (
            """curl http://a.test/ -H 'content-type: application/json' --data-binary '{"a": 1}'""",
            {"method": "POST", "body": b'{"a": 1}', "headers": [("content-type", "application/json")]},
        ),
        (
            """curl --json '{"a":' --json '1}' http://a.test/""",
            {
                "method": "POST",
                "body": b'{"a":1}',
                "headers": [("Accept", "application/json"), ("Content-Type", "application/json")],
            },
        ),
        ("curl -u ada:l:o http://a.test/", {"headers": [BASIC]}),
        ("curl -u x:y -H 'Authorization: Bearer t' http://a.test/", {"headers": [("Authorization", "Bearer t")]}),
        ("curl -b 'a=1; b=x=y' http://a.test/", {"cookies": {"a": "1", "b": "x=y"}}),
        ("curl -b '' http://a.test/", {}),
        ("curl --oauth2-bearer t http://a.test/", {"headers": [("Authorization", "Bearer t")]}),
        ("curl -H 'Cookie: a=1; b=2' http://a.test/", {"cookies": {"a": "1", "b": "2"}}),
        (
            "curl -A me/1 -e http://b.test/ http://a.test/",
            {"headers": [("User-Agent", "me/1"), ("Referer", "http://b.test/")]},
        ),
        ("curl -H 'X-Empty;' -H 'User-Agent:' -A me http://a.test/", {"headers": [("X-Empty", "")]}),
        ("curl -d x -H 'Content-Type:' http://a.test/", {"method": "POST", "body": b"x"}),
        ("curl -x p.test:3128 -U u:p http://a.test/", {"proxy": "http://u:p@p.test:3128"}),
        ("curl -x socks5://p.test http://a.test/", {"proxy": "socks5://p.test"}),
        (
            "curl -m 2.5 --max-redirs 3 --retry 4 --max-filesize 99 http://a.test/",
            {"timeout": 2.5, "max_redirects": 3, "max_retries": 4, "max_size": 99},
        ),
        ("curl -r 0-99 http://a.test/", {"headers": [("Range", "bytes=0-99")]}),
        ("curl -sSLo /dev/null --compressed -w '%{time}' --connect-timeout 3 -- http://a.test/", {}),
        ('curl \\\n  \'http://a.test/\' \\\r\n  -H "A: \\"b\\" \\$c"\\\n', {"headers": [("A", '"b" $c')]}),
        (
            r"""curl http://a.test/ --data-raw $'it\'s \u00fc \x41\n\xff \ud83d\ude00 \101'""",
            {"method": "POST", "body": "it's ü A\n".encode() + b"\xff " + "😀 A".encode(), "headers": [FORM]},
        ),
    ],
)
def test_commands(command: str, fields: dict[str, Any]) -> None:
    request = request_from_curl(command)
    assert request.url == fields.pop("url", U)
    assert request.method == fields.pop("method", "GET")
    assert list(request.headers.pairs()) == fields.pop("headers", [])
    assert request.body == fields.pop("body", b"")
    assert request.cookies == fields.pop("cookies", {})
    assert {name: getattr(request, name) for name in fields} == fields


def test_a_form_becomes_multipart() -> None:
    request = request_from_curl("curl http://a.test/ -F 'a=1' --form-string 'b=@x' -F c=")
    boundary = request.headers["content-type"].partition("boundary=")[2]
    assert request.body.count(boundary.encode()) == 4
    assert b'name="b"\r\n\r\n@x\r\n' in request.body


@pytest.mark.parametrize(
    ("value", "sent"),
    [("a=1;", b"1"), ('a="x;y"', b"x;y"), ('a="x \\"y\\"" ;', b'x "y"'), ('a="x', b'"x'), ('a=x"y"', b'x"y"')],
)
def test_the_value_of_a_part_is_read_as_curl_does(value: str, sent: bytes) -> None:
    body = request_from_curl(f"curl http://a.test/ -F '{value}'").body
    assert b'name="a"\r\n\r\n%b\r\n--' % sent in body


def test_what_is_given_goes_before_what_the_command_says() -> None:
    request = request_from_curl("curl -X PUT http://a.test/", method="PATCH", priority=5, callback=len)
    assert (request.method, request.priority, request.callback) == ("PATCH", 5, len)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("", "is no curl command"),
        ("wget http://a.test/", "'wget http://a.test/' is no curl command"),
        ("curl", "0 URLs"),
        ("curl http://a.test/ http://b.test/", "2 URLs"),
        ("curl 'http://a.test/", "a quote that has no end"),
        ("curl http://a.test/ -d @file", "-d '@file' reads a file"),
        ("curl http://a.test/ --json @file", "--json '@file' reads a file"),
        ("curl http://a.test/ -F a=@file", "reads a file"),
        ("curl http://a.test/ -F 'a={};type=application/json'", "says more of the part than its value"),
        ("curl http://a.test/ -b cookies.txt", "-b 'cookies.txt' reads a file"),
        ("curl http://a.test/ -H @file", "reads a file"),
        ("curl http://a.test/ -H nothing", "no name and value"),
        ("curl http://a.test/ -X", "-X needs a value"),
        ("curl http://a.test/ -m soon", "-m 'soon'"),
        ("curl http://a.test/ --aws-sigv4 x", "--aws-sigv4 is no option that"),
        ("curl http://a.test/ -sQ x", "-Q is no option that"),
        ('curl "http://a.test/" ^\n -H "A: b"', "for cmd.exe"),
    ],
)
def test_what_is_no_request(command: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        request_from_curl(command)


def test_what_has_no_effect_is_told() -> None:
    with pytest.warns(UserWarning, match="passes over -k") as told:
        assert request_from_curl("curl -sk http://a.test/").url == U
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="passes over --ntlm"):
        assert request_from_curl("curl --ntlm http://a.test/", ignore_unknown=True).url == U


def headers() -> st.SearchStrategy[list[tuple[str, str]]]:
    names = st.sampled_from(
        ["Accept", "X-Ü".encode().decode("latin-1"), "Content-Type", "A", "Authorization", "Referer"]
    )
    values = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12).map(str.strip)
    return st.lists(st.tuples(names, values), max_size=4)


TOKEN = st.text("abcXYZ019_-'\"$ \\&", min_size=1, max_size=8).map(lambda text: text.strip() or "x")
REQUESTS = st.builds(
    Request,
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).map(
        lambda text: f"http://a.test/{text}"
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"]),
    headers=headers().map(Headers),
    body=st.binary(max_size=40).filter(lambda data: 0 not in data),
    cookies=st.dictionaries(TOKEN, TOKEN, max_size=3),
    proxy=st.sampled_from([None, "http://u:p@p.test:8080", "socks5://p.test"]),
    timeout=st.none() | st.floats(0.001, 1e6),
)


@given(REQUESTS)
@settings(deadline=None, max_examples=300)
def test_there_and_back(request: Request) -> None:
    again = request_from_curl(to_curl(request))
    for name in ("url", "method", "headers", "body", "cookies", "proxy", "timeout"):
        assert getattr(again, name) == getattr(request, name), name


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_is_a_request_or_a_value_error(text: str) -> None:
    try:
        request = request_from_curl(f"curl http://a.test/ {text}")
    except ValueError:
        return
    assert request.url.startswith("http")


def test_to_curl() -> None:
    assert to_curl(Request(U)) == "curl http://a.test/"
    request = Request(
        "http://a.test/?a=1&b=2", method="POST", body=b'{"a": "it\'s"}',
        headers=Headers({"Content-Type": "application/json"}),
        cookies=[{"name": "a", "value": "1", "domain": "a.test"}],
    )  # fmt: skip
    assert to_curl(request) == (
        "curl 'http://a.test/?a=1&b=2' -H 'Content-Type: application/json' -b a=1 --data-raw '{\"a\": \"it'\"'\"'s\"}'"
    )
    with pytest.raises(ValueError, match="NUL"):
        to_curl(Request(U, body=b"\0"))


def test_bash_reads_the_words_as_we_do() -> None:
    command = to_curl(
        Request("http://a.test/ü'", method="PUT", body=b"it's\xff\n\x01 $HOME `x` \\ !", headers=Headers({"A": '"b"'}))
    )
    command += r""" "a \$b \\ c" $'\t\'\x41\u00e9' plain\ word"""

    async def bash() -> bytes:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", f"curl() {{ printf '%s\\0' curl \"$@\"; }}; {command}", stdout=asyncio.subprocess.PIPE,
            env={"LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        return (await process.communicate())[0]

    said = asyncio.run(bash()).split(b"\0")[:-1]
    assert [word.encode("utf-8", "surrogateescape") for word in words(command)] == said
