"""The referrer policies, row by row: what W3C Referrer Policy says of pages and targets (referrer_policies.csv).

The rows were written down from the rules, not worked out by the code. A cell says what a policy tells: nothing, the
"full" URL of the page (as told: without credentials, fragment and default port), or its "origin".
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from parsel import Selector

from streamcrawl.headers import Headers
from streamcrawl.referrer import (
    DEFAULT_POLICY,
    POLICIES,
    TOKENS,
    declared_policies,
    policy_of,
    policy_on_redirect,
    referrer_for,
)

with (Path(__file__).parent / "referrer_policies.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))
COLUMNS = list(ROWS[0])[4:]
TOLD = {"": "", "full": "page as told", "origin": "origin as told"}


def test_the_table_is_whole() -> None:
    assert {"" if name == "(empty)" else name for name in COLUMNS} == set(POLICIES)
    assert len(ROWS) >= 150
    schemes = {row["page"].partition(":")[0].lower() for row in ROWS}
    assert schemes >= {"http", "https", "ftp", "ftps", "about", "blob", "data", "filesystem", "file", "s3"}
    for name in COLUMNS:
        told = {row[name] for row in ROWS}
        assert told <= TOLD.keys()
        assert len(told) > 1 or name == "no-referrer", name
    assert len({tuple(row[name] for name in COLUMNS) for row in ROWS}) >= 5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['page']} -> {row['target']}")
def test_row(row: dict[str, str]) -> None:
    for name in COLUMNS:
        expected = row[TOLD[row[name]]] if row[name] else None
        told = referrer_for("" if name == "(empty)" else name, row["page"], row["target"])
        assert told == expected, name
        assert told is None or not any(mark in told for mark in ("secret", "@", "#")), name


def test_there_are_nine_policies_and_scrapys() -> None:
    assert len(POLICIES) == 10
    assert POLICIES[""] == POLICIES[DEFAULT_POLICY]
    assert len(TOKENS) == 8


def test_of_a_very_long_url_only_the_origin_is_told() -> None:
    page = "https://a.example/" + "x" * 4078
    assert referrer_for("unsafe-url", page, "https://a.example/") == page
    assert referrer_for("unsafe-url", page + "x", "https://a.example/") == "https://a.example/"


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ("<meta name=referrer content=origin>", "origin"),
        ("<META NAME=Referrer CONTENT=No-Referrer>", "no-referrer"),
        ("<meta name=referrer content=never><meta name=referrer content=ALWAYS>", "no-referrer,unsafe-url"),
        ("<meta name=referrer content=never><p><meta name=referrer content=ALWAYS>", "no-referrer"),
        ("<meta name=referrer content=default>", "strict-origin-when-cross-origin"),
        ("<meta name=referrer content=origin-when-crossorigin>", "origin-when-cross-origin"),
        ("<meta name=referrer content='origin, no-referrer'><meta name=referrer content=scrapy-default>", ""),
        ("<meta name=referrer content=''><meta name=referrer><meta content=origin>", ""),
        ("<template><meta name=referrer content=origin></template>", ""),
        ("<noscript><meta name=referrer content=origin></noscript><!-- <meta name=referrer content=origin> -->", ""),
    ],
)
def test_what_a_page_declares(html: str, said: str) -> None:
    assert ",".join(declared_policies(Selector(html).root)) == said


def test_what_is_no_url_is_told_nothing() -> None:
    for target in ("http://a.example/\ud800", "http://[half/", "page.html", ""):
        assert referrer_for("unsafe-url", "https://a.example/", target) is None


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
        (["sys.exit"], None),
        (["origin, sys.exit"], "origin"),
        (["scrapy-default"], None),
        (["origin,\tunsafe-url\t"], "unsafe-url"),
    ],
)
def test_the_last_known_policy_of_the_header_counts(fields: list[str], policy: str | None) -> None:
    assert policy_of(Headers([("Referrer-Policy", value) for value in fields])) == policy


@pytest.mark.parametrize(
    ("header", "own", "policy"),
    [
        (None, None, DEFAULT_POLICY),
        (None, "same-origin", "same-origin"),
        ("no-referrer", None, "no-referrer"),
        ("no-referrer", "unsafe-url", "no-referrer"),
        ("unheard-of", "origin", "origin"),
        (None, "unheard-of", DEFAULT_POLICY),
        (None, "scrapy-default", "scrapy-default"),
    ],
)
def test_a_hop_goes_by_the_policy_of_what_redirects_else_by_its_own(
    header: str | None, own: str | None, policy: str
) -> None:
    headers = Headers({} if header is None else {"Referrer-Policy": header})
    assert policy_on_redirect(headers, own) == policy
