"""The nine referrer policies, as a table of what W3C Referrer Policy says of them."""

from __future__ import annotations

import pytest

from streamcrawl.headers import Headers
from streamcrawl.referrer import DEFAULT_POLICY, POLICIES, policy_of, referrer_for

COLUMNS = (
    "no-referrer",
    "no-referrer-when-downgrade",
    "same-origin",
    "origin",
    "strict-origin",
    "origin-when-cross-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
    "",
)
SAME, CROSS, DOWNGRADE, NONE = "-FFOOFFFF", "-F-OOOOFO", "---O-O-F-", "---------"

SECURE = ("https://user:secret@shop.example/a/b?q=1#part", "https://shop.example/a/b?q=1", "https://shop.example/")
PLAIN = ("http://shop.example:8080/a?q", "http://shop.example:8080/a?q", "http://shop.example:8080/")
LOOPBACK = ("http://localhost:8000/a", "http://localhost:8000/a", "http://localhost:8000/")

# (page, its full referrer, its origin), target, what each column tells: - nothing, O the origin, F the whole URL
TABLE = [
    (SECURE, "https://shop.example/c", SAME),
    (SECURE, "https://shop.example/", SAME),
    (SECURE, "https://shop.example:443/c", SAME),
    (SECURE, "HTTPS://SHOP.Example/c", SAME),
    (SECURE, "https://other:name@shop.example/c", SAME),
    (SECURE, "https://shop.example?c", SAME),
    (SECURE, "https://shop.example:8443/c", CROSS),
    (SECURE, "https://www.shop.example/c", CROSS),
    (SECURE, "https://shop.example.evil.example/", CROSS),
    (SECURE, "https://shop.example@evil.example/", CROSS),
    (SECURE, "https://other.example/", CROSS),
    (SECURE, "http://shop.example/c", DOWNGRADE),
    (SECURE, "http://other.example/", DOWNGRADE),
    (SECURE, "http://127.0.0.1:8000/", CROSS),
    (SECURE, "http://localhost/", CROSS),
    (SECURE, "http://[::1]:81/", CROSS),
    (SECURE, "http://127.evil.example/", DOWNGRADE),
    (SECURE, "http://localhost.example/", DOWNGRADE),
    (SECURE, "mailto:someone@shop.example", NONE),
    (SECURE, "ftp://shop.example/", NONE),
    (SECURE, "not a URL", NONE),
    (PLAIN, "http://shop.example:8080/b", SAME),
    (PLAIN, "http://shop.example/b", CROSS),
    (PLAIN, "http://other.example/b", CROSS),
    (PLAIN, "https://shop.example:8080/b", CROSS),
    (PLAIN, "https://other.example/b", CROSS),
    (("http://shop.example:80/a", "http://shop.example/a", "http://shop.example/"), "http://shop.example/b", SAME),
    (LOOPBACK, "http://localhost:8000/b", SAME),
    (LOOPBACK, "http://other.example/b", DOWNGRADE),
    (LOOPBACK, "https://other.example/b", CROSS),
    (("file:///home/someone/page.html", "", ""), "https://shop.example/", NONE),
    (("data:text/html,x", "", ""), "https://shop.example/", NONE),
    (("about:blank", "", ""), "https://shop.example/", NONE),
    (("", "", ""), "https://shop.example/", NONE),
]


def test_there_are_nine_policies() -> None:
    assert set(COLUMNS) == set(POLICIES)
    assert POLICIES[""] == POLICIES[DEFAULT_POLICY]


@pytest.mark.parametrize(("page", "target", "told"), TABLE)
def test_table(page: tuple[str, str, str], target: str, told: str) -> None:
    url, full, origin = page
    expected = {"-": None, "O": origin, "F": full}
    for policy, letter in zip(COLUMNS, told, strict=True):
        assert referrer_for(policy, url, target) == expected[letter], policy


def test_of_a_very_long_url_only_the_origin_is_told() -> None:
    assert (
        referrer_for("unsafe-url", "https://a.example/" + "x" * 4078, "https://a.example/")
        == "https://a.example/" + "x" * 4078
    )
    assert referrer_for("unsafe-url", "https://a.example/" + "x" * 4079, "https://a.example/") == "https://a.example/"


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(KeyError, match="sometimes"):
        referrer_for("sometimes", "https://a.example/", "https://a.example/")


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ([], None),
        (["origin"], "origin"),
        (["Origin"], "origin"),
        ([""], None),
        (["unheard-of"], None),
        (["no-referrer, strict-origin-when-cross-origin"], "strict-origin-when-cross-origin"),
        (["no-referrer ,unheard-of , "], "no-referrer"),
        (["unsafe-url", "same-origin"], "same-origin"),
        (["streamcrawl.referrer.POLICIES"], None),
    ],
)
def test_the_last_known_policy_of_the_header_counts(fields: list[str], policy: str | None) -> None:
    assert policy_of(Headers([("Referrer-Policy", value) for value in fields])) == policy
