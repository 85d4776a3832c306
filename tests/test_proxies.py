"""Which proxy: URLs, the environment, no_proxy, and a pool that knows which of its proxies work."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.core import Dropped, Failed, Outcome, Request
from streamcrawl.errors import (
    AddressRefused,
    BodyTooLarge,
    ConnectError,
    FetchError,
    FetchTimeout,
    OperatorError,
    ProtocolError,
    ProxyError,
    TLSError,
)
from streamcrawl.proxies import MOST_KEPT, PROBE_SECONDS, Change, Member, Pool, Verdict, banned, rotation, verdict
from streamcrawl.proxy_urls import NoProxy, environment_proxies, in_encoding, proxy_address
from streamcrawl.response import Response
from streamcrawl.urls import normalize

URL = "http://a.example/"
FIVE = [f"http://u{number}:secret@p{number}:3128" for number in range(5)]


# URLs


@pytest.mark.parametrize(
    ("given", "url", "host", "port", "user", "password"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", "proxy.example", 3128, None, b""),
        ("proxy.example:3128", "http://proxy.example:3128", "proxy.example", 3128, None, b""),
        ("HTTP://Proxy.Example/", "http://proxy.example:80", "proxy.example", 80, None, b""),
        ("https://u:p@proxy.example", "https://proxy.example:443", "proxy.example", 443, b"u", b"p"),
        ("http://u%40x:p%3A%2f@h:1", "http://h:1", "h", 1, b"u@x", b"p:/"),
        ("http://u:p@q@h:1", "http://h:1", "h", 1, b"u", b"p@q"),
        ("http://us\u00e9r:p:q@h:1", "http://h:1", "h", 1, "us\u00e9r".encode(), b"p:q"),
        ("http://us%E9r@h:1", "http://h:1", "h", 1, b"us\xe9r", b""),
        ("socks5h://[::1]:9050", "socks5h://[::1]:9050", "::1", 9050, None, b""),
        ("socks5://h", "socks5://h:1080", "h", 1080, None, b""),
        ("socks4://u:@h", "socks4://h:1080", "h", 1080, b"u", b""),
        ("http://b\u00fccher.example:1", "http://xn--bcher-kva.example:1", "xn--bcher-kva.example", 1, None, b""),
        ("http://@h:1", "http://h:1", "h", 1, None, b""),
    ],
)
def test_a_url_taken_apart(given: str, url: str, host: str, port: int, user: bytes | None, password: bytes) -> None:
    address = proxy_address(given)
    assert (address.url, address.host, address.port) == (url, host, port)
    assert (address.user, address.password) == (user, password)
    assert bool(address.authorization) == (user is not None and not address.socks)
    assert proxy_address(address.url).url == address.url


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("ftp://u:secret@h", "proxy ftp://…@h: its scheme is one of http, https, socks4, socks4a, socks5, socks5h"),
        ("http://u:secret@h:99999", "proxy http://…@h:99999: its port is 1 to 65535"),
        ("http://h:0", "proxy http://h:0: its port is 1 to 65535"),
        ("http://u:se/cret@h", "proxy http://…@h: write / ? and # in its credentials as %2F, %3F and %23"),
        (
            "http://u:secret@h/path",
            "proxy http://…@h/path: it is scheme://user:password@host:port, with nothing behind",
        ),
        ("http://", "proxy http://: it is scheme://user:password@host:port, with nothing behind"),
        ("http://a b:1", "proxy http://a b:1: 'a b' is no host"),
        (
            "socks5://us\u00e9r:secret@h",
            "proxy socks5://h:1080: SOCKS credentials are ASCII, and at most 255 bytes each",
        ),
        ("socks4://u:secret@h", "proxy socks4://h:1080: SOCKS4 has no passwords, only a user's name; socks5 has them"),
        (
            "socks4a://u:secret@h",
            "proxy socks4a://h:1080: SOCKS4 has no passwords, only a user's name; socks5 has them",
        ),
        (f"socks5://u:{'s' * 256}@h", "proxy socks5://h:1080: SOCKS credentials are ASCII, and at most 255 bytes each"),
    ],
)
def test_a_url_that_is_none_is_told_without_its_credentials(bad: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy ") as caught:
        proxy_address(bad)
    assert str(caught.value) == why


@given(st.text(max_size=40))
def test_any_text_is_a_proxy_or_a_value_error(text: str) -> None:
    try:
        address = proxy_address(text)
    except ValueError:
        return
    assert 0 < address.port < 65536
    assert address.host


@given(st.text(max_size=20), st.text(max_size=20))
def test_credentials_are_in_no_text(user: str, password: str) -> None:
    address = proxy_address(
        in_encoding("http://" + _quoted(f"{user}-x") + ":" + _quoted(f"{password}-y") + "@h:1", "utf-8")
    )
    assert (address.user, address.password) == (f"{user}-x".encode(), f"{password}-y".encode())
    assert (str(address), repr(address)) == ("http://h:1", "ProxyAddress(url='http://h:1', host='h', port=1)")


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def test_credentials_in_another_encoding() -> None:
    assert in_encoding("http://us%C3%A9r:p@h:1", "latin-1") == "http://us%E9r:p@h:1"
    assert in_encoding("http://us\u00e9r:p%40@h:1", "latin-1") == "http://us%E9r:p%40@h:1"
    assert in_encoding("http://us%E9r:p@h:1", "latin-1") == "http://us%E9r:p@h:1"  # in Latin-1 already
    assert in_encoding("u%C3%A9:p@h:1", "latin-1") == "u%E9:p@h:1"
    assert in_encoding("http://h:1", "latin-1") == "http://h:1"
    with pytest.raises(ValueError, match=r"^proxy h:1: its credentials cannot be written in latin-1$"):
        in_encoding("http://%E2%82%AC:p@h:1", "latin-1")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("url", ["http://u:se/cret@h:1", "http://u:se?cret@h:1", "http://u:se#cret@h:1", "ftp://u:p@h"])
def test_what_is_no_proxys_url_is_none_in_another_encoding(url: str, encoding: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy (http|ftp)://…@h.*: (write / |its scheme)"):
        in_encoding(url, encoding)


# arguments

ROTATION: Any = rotation
BANNED: Any = banned
"""As they are without a type checker."""


@pytest.mark.parametrize(
    ("make", "error", "why"),
    [
        (lambda: ROTATION(FIVE, rest=5), TypeError, r"^rotation\(rest=5\): a function is needed"),
        (lambda: ROTATION(FIVE, ban=["403"]), TypeError, r"^rotation\(ban=\['403'\]\): .*whole numbers"),
        (lambda: ROTATION(FIVE, ban=5), TypeError, r"^rotation\(ban=5\): a function, a list of whole numbers or None"),
        (lambda: ROTATION(FIVE, doubts="3"), TypeError, r"^rotation\(doubts='3'\): a whole number"),
        (lambda: ROTATION(FIVE, patience="x"), TypeError, r"^rotation\(patience='x'\): a number"),
        (lambda: ROTATION([*FIVE, 5]), TypeError, r"^rotation\(urls=.*\): a list of text is needed"),
        (lambda: ROTATION(FIVE, bann=(403,)), TypeError, "did you mean 'ban'"),
        (lambda: BANNED("403"), TypeError, r"^banned\(statuses='403'\): a whole number is needed"),
        (lambda: BANNED(body=5), TypeError, r"^banned\(body=5\): text"),
        (lambda: BANNED(403, body="("), ValueError, r"^banned\(body='\('\): no regular expression: "),
    ],
)
def test_arguments_are_told_by_their_names(make: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why) as caught:
        make()
    assert "secret" not in str(caught.value)


def test_statuses_are_a_ban() -> None:
    for ban in ([403, 429], (403,), {403}):
        test = rotation(FIVE, ban=ban).ban
        assert test is not None
        assert [test(Response(URL, status)) for status in (403, 200)] == [True, False]
    assert rotation(FIVE, ban=()).ban is None


# the environment


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, {}),
        ({"http_proxy": "http://p:1"}, {"http": "http://p:1"}),
        ({"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "q:2"}, {"http": "http://p:1", "https": "q:2"}),
        ({"http_proxy": "http://small:1", "HTTP_PROXY": "http://capital:1"}, {"http": "http://small:1"}),
        ({"http_proxy": "", "HTTP_PROXY": "http://capital:1"}, {}),
        ({"all_proxy": "socks5h://p:1"}, {"all": "socks5h://p:1"}),
        ({"ALL_PROXY": "http://p:1", "https_proxy": "http://q:1"}, {"all": "http://p:1", "https": "http://q:1"}),
        ({"ftp_proxy": "http://p:1"}, {}),
    ],
)
def test_variables(environ: dict[str, str], found: dict[str, str]) -> None:
    assert environment_proxies(environ).by_scheme == found


def test_httpoxy_what_a_client_of_a_cgi_program_sends_is_no_proxy() -> None:
    environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://attacker:1", "HTTPS_PROXY": "http://p:1"}
    assert environment_proxies(environ).by_scheme == {"https": "http://p:1"}
    assert environment_proxies({**environ, "http_proxy": "http://q:1"}).by_scheme["http"] == "http://q:1"


def test_no_proxy_of_the_environment() -> None:
    assert environment_proxies({"no_proxy": "a", "NO_PROXY": "b"}).no_proxy == "a"
    assert environment_proxies({"no_proxy": "", "NO_PROXY": "b"}).no_proxy == ""
    assert environment_proxies({"NO_PROXY": "b"}).no_proxy == "b"


def test_a_bad_variable_is_named_without_its_credentials() -> None:
    with pytest.raises(ValueError, match=r"^environment variable HTTPS_PROXY: proxy ftp://…@h: its scheme") as caught:
        environment_proxies({"HTTPS_PROXY": "ftp://u:secret@h"})
    assert "secret" not in str(caught.value)


# no_proxy


@pytest.mark.parametrize(
    ("entries", "direct", "proxied"),
    [
        ("", "", "http://a.example http://127.0.0.1"),
        ("*", "http://a.example https://[::1]", ""),
        ("a.example, *", "http://b.example", ""),
        (
            "a.example",
            "http://a.example http://x.a.example https://x.y.a.example:8",
            "http://xa.example http://example",
        ),
        (".a.example", "http://a.example http://x.a.example", "http://xa.example"),
        ("*.a.example", "http://x.a.example http://x.y.a.example", "http://a.example"),
        ("A.Example.", "http://a.example http://a.example./", "http://b.example"),
        ("a.example b.example,c.example", "http://a.example http://b.example http://c.example", "http://d.example"),
        ("a.example:8080", "http://a.example:8080 https://x.a.example:8080", "http://a.example http://a.example:80"),
        ("a.example:443", "https://a.example", "http://a.example https://a.example:8443"),
        ("*.a.example:80", "http://x.a.example", "http://x.a.example:81 http://a.example"),
        ("localhost", "http://localhost:3000", "http://127.0.0.1"),
        ("b\u00fccher.example", "http://b\u00fccher.example http://xn--bcher-kva.example", "http://bucher.example"),
        (
            "10.1.2.3",
            "http://10.1.2.3 https://10.1.2.3:8443 http://0x0a.1.2.3",
            "http://10.1.2.4 http://10.1.2.3.example",
        ),
        ("10.1.2.3:80", "http://10.1.2.3", "https://10.1.2.3"),
        ("10.0.0.0/8", "http://10.255.0.1", "http://11.0.0.1 http://ten.example"),
        ("10.9.9.9/8", "http://10.255.0.1", "http://11.0.0.1"),
        ("169.254/16", "http://169.254.169.254", "http://169.255.0.1"),
        ("::1", "http://[::1] https://[::1]:8", "http://[::2]"),
        ("[::1]:80", "http://[::1]", "https://[::1]"),
        ("fd00::/8", "http://[fd12:3456::1]", "http://[fe80::1] http://10.0.0.1"),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.1]", "http://[::ffff:11.0.0.1]"),
    ],
)
def test_no_proxy(entries: str, direct: str, proxied: str) -> None:
    bypass = NoProxy(entries)
    assert bypass.odd == []
    assert [url for url in direct.split() if not bypass(normalize(url))] == []
    assert [url for url in proxied.split() if bypass(normalize(url))] == []
    assert bool(bypass) == bool(entries)


def test_no_proxy_entry_by_entry_and_those_that_mean_nothing() -> None:
    bypass = NoProxy(["a.example", "<local>", "http://b.example/x", "10.0.0.0/99", "*x"])
    assert bypass("http://a.example/")
    assert bypass.odd == ["<local>", "http://b.example/x", "10.0.0.0/99", "*x"]
    assert not bypass("http://b.example/")


@given(st.text(max_size=40), st.sampled_from(["http://a.example/", "https://[::1]:8/", "http://10.0.0.1/"]))
def test_no_proxy_takes_any_text(entries: str, url: str) -> None:
    assert NoProxy(entries)(url) in (True, False)


# a pool


def get(number: int = 0, **fields: Any) -> Request:
    return Request(f"http://a.example/{number}", **fields)


def rested(failures: int, random: Random) -> float:
    return 10.0 * failures


def pool(**options: Any) -> Pool:
    options.setdefault("rest", rested)
    return Pool(rotation(FIVE, **options), Random(1))


def taken(pool: Pool, request: Request, now: float = 0.0) -> Member:
    member = pool.take(request, now)
    assert member is not None
    return member


def exchange(pool: Pool, request: Request, judged: Verdict = Verdict.WORKS, now: float = 0.0) -> str:
    member = taken(pool, request, now)
    outcome: Outcome = Response(request.url, 200, request=request)
    if judged is not Verdict.WORKS:
        outcome = Failed(request, FetchTimeout("slow"))
    pool.landed(member, outcome, judged, now)
    return member.name


def fail(pool: Pool, member: Member, now: float, judged: Verdict = Verdict.FAULT) -> Change | None:
    return pool.landed(member, Failed(get(), ProxyError("gone")), judged, now)


NAMES = [f"http://p{number}:3128" for number in range(5)]


def test_round_robin() -> None:
    one = pool()
    assert [exchange(one, get(number)) for number in range(7)] == [*NAMES, *NAMES[:2]]


def test_random_uses_all_alike() -> None:
    one = pool(order="random")
    counts = Counter(exchange(one, get(number)) for number in range(2000))
    assert sorted(counts) == NAMES
    assert min(counts.values()) > 330


def test_random_does_not_favour_the_neighbours_of_those_that_rest() -> None:
    one = pool(order="random")
    for name in list(one.members.values())[1:4]:
        name.under_way = 1
        fail(one, name, 0.0)
    counts = Counter(exchange(one, get(number), now=1.0) for number in range(1000))
    assert sorted(counts) == [NAMES[0], NAMES[4]]
    assert min(counts.values()) > 400


def test_least_used_goes_by_what_is_under_way() -> None:
    one = pool(order="least used")
    held = [taken(one, get(number)) for number in range(5)]
    assert [each.name for each in held] == NAMES
    one.landed(held[3], Response(URL, 200, request=get()), Verdict.WORKS, 0.0)
    assert [taken(one, get()).name, taken(one, get()).name] == [NAMES[3], NAMES[0]]


def test_a_faulty_proxy_rests_longer_each_time_and_comes_back() -> None:
    one = pool()
    first = taken(one, get())
    assert fail(one, first, 0.0) == Change(10.0)
    assert {exchange(one, get(number), now=9.9) for number in range(8)} == set(NAMES[1:])
    # After its rest one request tries it out, and until that is back no other.
    tried = [taken(one, get(number), 10.0) for number in range(10)]
    assert [each.name for each in tried].count(first.name) == 1
    assert fail(one, first, 11.0) == Change(20.0)
    assert first.name not in {exchange(one, get(number), now=30.9) for number in range(8)}
    while (member := taken(one, get(), 31.0)) is not first:
        pass
    assert one.landed(first, Response(URL, 200, request=get()), Verdict.WORKS, 31.0) == Change(0.0)
    assert one.landed(member, Response(URL, 200, request=get()), Verdict.WORKS, 31.0) is None
    assert (first.failures, first.free(31.0)) == (0, True)


def test_what_was_under_way_when_it_failed_counts_once() -> None:
    one = pool()
    member = taken(one, get())
    member.under_way = 8
    changes = [fail(one, member, 0.0) for _ in range(8)]
    assert changes == [Change(10.0), *[None] * 7]
    assert (member.failures, member.under_way) == (1, 0)


def test_doubts_count_only_in_a_row() -> None:
    one = Pool(rotation(["http://p", "http://q"], doubts=3, rest=lambda failures, random: 10.0), Random(1))
    member = taken(one, get())
    for judged in (Verdict.DOUBT, Verdict.DOUBT, Verdict.NOTHING):
        assert fail(one, member, 0.0, judged) is None
    assert one.landed(member, Response(URL, 200, request=get()), Verdict.WORKS, 0.0) is None
    changes = [fail(one, member, 0.0, Verdict.DOUBT) for _ in range(3)]
    assert changes == [None, None, Change(10.0)]
    # One that is being tried out has no credit.
    assert fail(one, member, 10.0, Verdict.DOUBT) == Change(10.0)


def test_a_repeat_goes_through_another_proxy() -> None:
    one = pool(order="random")
    used = [exchange(one, get(1, attempt=attempt), Verdict.DOUBT) for attempt in range(5)]
    assert sorted(used) == NAMES
    again = exchange(one, get(1, attempt=5), Verdict.DOUBT)  # all have failed: any but the last
    assert again != used[-1]
    member = taken(one, get(2))
    one.landed(member, Response(get(2).url, 503, request=get(2)), Verdict.WORKS, 0.0)
    assert all(taken(one, get(2, attempt=1)) is not member for _ in range(50))
    exchange(one, get(2, attempt=1))
    assert any(taken(one, get(2, attempt=1)) is member for _ in range(200))  # it has been brought: all is forgotten


def who(request: Request) -> str:
    return str(request.meta["who"])


@pytest.mark.parametrize(
    ("sticky", "same", "other"),
    [
        ("host", [get(1), get(2)], Request("http://b.example/")),
        (
            "cookiejar",
            [get(1, cookiejar="one"), Request("http://b.example/", cookiejar="one")],
            get(3, cookiejar="two"),
        ),
        (
            who,
            [get(1, meta={"who": "x"}), get(2, meta={"who": "x"})],
            get(meta={"who": "y"}),
        ),
    ],
    ids=["host", "cookiejar", "function"],
)
def test_sticky(sticky: Any, same: list[Request], other: Request) -> None:
    one = pool(sticky=sticky)
    names = {exchange(one, request) for request in same * 3}
    assert len(names) == 1
    assert exchange(one, other) not in names
    (name,) = names
    member = next(each for each in one.members.values() if each.name == name)
    member.under_way += 1
    fail(one, member, 0.0)
    moved = {exchange(one, request, now=1.0) for request in same * 3}
    assert len(moved) == 1
    assert moved != names
    assert {exchange(one, request, now=50.0) for request in same} == moved  # and stays there


def test_no_name_no_session() -> None:
    one = pool(sticky="cookiejar")
    assert [exchange(one, get(number)) for number in range(5)] == NAMES


def test_sessions_and_failures_that_are_remembered_are_bounded() -> None:
    one = pool(sticky="host")
    for number in range(MOST_KEPT + 50):
        exchange(one, Request(f"http://h{number}.example/"), Verdict.DOUBT if number % 2 else Verdict.WORKS)
    tables: list[Any] = [table for table in vars(one).values() if isinstance(table, dict)]
    assert max(map(len, tables)) == MOST_KEPT


def test_when_none_works_it_says_when_to_ask_again_until_patience_is_over() -> None:
    chosen = rotation(["http://p", "http://q"], patience=60.0, rest=lambda failures, random: 10.0)
    one = Pool(chosen, Random(1))

    def wait(now: float, least: float) -> None:
        assert one.take(get(), now) is None
        seconds = one.wait(now)
        assert seconds is not None
        assert least <= seconds <= least + PROBE_SECONDS

    first, second = taken(one, get()), taken(one, get())
    fail(one, first, 0.0)
    fail(one, second, 1.0)
    wait(2.0, 8.0)
    assert taken(one, get(), 10.0) is first
    wait(10.5, 0.5)
    fail(one, first, 10.6)
    assert taken(one, get(), 11.0) is second
    wait(11.0, PROBE_SECONDS)  # one is being tried out, the other rests longer
    fail(one, second, 62.0)
    assert taken(one, get(), 62.1) is first
    assert (one.take(get(), 62.2), one.wait(62.2)) == (None, None)  # none has worked since 2.0
    assert one.landed(first, Response(URL, 200, request=get()), Verdict.WORKS, 63.0) == Change(0.0)
    assert taken(one, get(), 63.0) is first
    fail(one, first, 64.0)
    wait(65.0, 7.0)  # it worked meanwhile: patience starts anew


def test_repr_shows_no_credentials() -> None:
    one = pool()
    exchange(one, get(), Verdict.FAULT)
    texts = [repr(one), repr(rotation(FIVE)), *(repr(member) for member in one.members.values())]
    assert texts[:2] == ["<Pool of 5 proxies, 1 of them failing>", "<rotation of 5 proxies, round robin>"]
    assert texts[2] == "<proxy http://p0:3128: 0 under way, 1 uses, 1 failures in a row>"
    assert "secret" not in "".join(texts)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"urls": []}, "several URLs"),
        ({"urls": "http://p:1"}, "several URLs"),
        ({"urls": ["ftp://u:secret@h"]}, "proxy ftp://…@h: its scheme"),
        ({"order": "newest"}, r"order='newest'\): one of round robin, random, least used"),
        ({"sticky": "path"}, r"sticky='path'\): 'host', 'cookiejar', a function"),
        ({"doubts": 0}, r"doubts=0\): 1 or more"),
        ({"patience": -1.0}, r"patience=-1.0\): 0 seconds or more"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], why: str) -> None:
    make: Any = rotation
    with pytest.raises(ValueError, match=why):
        make(**{"urls": FIVE, **arguments})


# verdicts


def page(status: int, body: bytes = b"") -> Response:
    return Response(URL, status, body=body, request=Request(URL))


@pytest.mark.parametrize(
    ("outcome", "judged"),
    [
        (page(200), Verdict.WORKS),
        (page(404), Verdict.WORKS),
        (page(503), Verdict.WORKS),
        (page(407), Verdict.FAULT),
        (Failed(Request(URL), ProxyError("refused")), Verdict.FAULT),
        (Failed(Request(URL), ProxyError("bad gateway", beyond=True)), Verdict.DOUBT),
        (Failed(Request(URL), FetchTimeout("slow")), Verdict.DOUBT),
        (Failed(Request(URL), ProtocolError("lost")), Verdict.DOUBT),
        (Failed(Request(URL), ConnectError("refused")), Verdict.DOUBT),
        (Failed(Request(URL), TLSError("expired")), Verdict.DOUBT),
        (Failed(Request(URL), OperatorError("fetch", RuntimeError("a client of one's own"))), Verdict.DOUBT),
        (Failed(Request(URL), BodyTooLarge("large")), Verdict.NOTHING),
        (Failed(Request(URL), AddressRefused("private")), Verdict.NOTHING),
        (Failed(Request(URL), FetchError("cannot be sent")), Verdict.NOTHING),
        (Dropped(Request(URL), "robots.txt"), Verdict.NOTHING),
    ],
)
def test_what_an_outcome_says_of_the_proxy(outcome: Outcome, judged: Verdict) -> None:
    assert verdict(outcome, None) is judged


def test_bans() -> None:
    blocked = banned(403, 429, body="access denied")
    assert [
        blocked(each) for each in (page(403, b"<h1>Access Denied"), page(403, b"no"), page(200, b"access denied"))
    ] == [
        True,
        False,
        False,
    ]
    assert banned(body=rb"captcha")(page(200, b"a CAPTCHA"))
    assert not banned(429)(page(403))
    assert verdict(page(429), banned(429)) is Verdict.FAULT
    with pytest.raises(ValueError, match="it would take every response for a ban"):
        banned()
    statuses = rotation(FIVE, ban=(403, 429)).ban
    assert statuses is not None
    assert [status for status in (200, 403, 407, 429) if statuses(page(status))] == [403, 429]
