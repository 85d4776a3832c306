"""What an IP address is, and who allows it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamcrawl.errors import InvalidURL
from streamcrawl.transport.addresses import METADATA, Permits, is_localhost, kind_of, meant, parse, permits, words
from streamcrawl.urls import hostname_of, normalize

PUBLIC = Permits()

NOT_PUBLIC = [
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("::1", "loopback"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("fc00::1", "private"),
    ("fd12:3456::1", "private"),
    ("fec0::1", "private"),
    ("169.254.1.1", "link-local"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("100.64.0.1", "shared, behind a carrier's NAT"),
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("::", "unspecified"),
    ("224.0.0.1", "multicast"),
    ("ff02::1", "multicast"),
    ("255.255.255.255", "broadcast"),
    ("240.0.0.1", "reserved"),
    ("192.0.0.1", "reserved"),
    ("4000::1", "reserved"),
    ("192.0.2.1", "for documentation"),
    ("198.51.100.1", "for documentation"),
    ("203.0.113.1", "for documentation"),
    ("2001:db8::1", "for documentation"),
    ("3fff::1", "for documentation"),
    ("198.19.255.255", "for benchmarks"),
    ("64:ff9b:1::a00:1", "a local translation to IPv4"),
    ("169.254.169.254", METADATA),
    ("169.254.170.2", METADATA),
    ("168.63.129.16", METADATA),
    ("100.100.100.200", METADATA),
    ("fd00:ec2::254", METADATA),
]

EMBEDDING = [
    "::ffff:{v4}",  # mapped
    "::{v4}",  # compatible
    "::ffff:0:{v4}",  # translated
    "64:ff9b::{v4}",  # NAT64
    "2002:{hi}:{lo}::1",  # 6to4
    "2001:0:{hi}:{lo}::f7f7:f7f7",  # Teredo, its server
    "2001:0:808:808::{nothi}:{notlo}",  # Teredo, its client
    "2606:4700::5efe:{v4}",  # ISATAP
    "2606:4700::200:5efe:{v4}",
]


def embedded(form: str, inner: str) -> str:
    number = int(IPv4Address(inner))
    high, low = number >> 16, number & 0xFFFF
    return form.format(v4=inner, hi=f"{high:x}", lo=f"{low:x}", nothi=f"{high ^ 0xFFFF:x}", notlo=f"{low ^ 0xFFFF:x}")


@pytest.mark.parametrize(("address", "kind"), NOT_PUBLIC)
def test_what_is_not_public(address: str, kind: str) -> None:
    assert PUBLIC.objection(address) == kind


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"])
def test_what_is_public(address: str) -> None:
    assert PUBLIC.objection(address) == ""


@pytest.mark.parametrize("form", EMBEDDING)
@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"])
def test_an_ipv4_address_inside_of_an_ipv6_address_counts(form: str, inner: str) -> None:
    assert PUBLIC.objection(embedded(form, inner)) == PUBLIC.objection(inner) != ""


@pytest.mark.parametrize("form", EMBEDDING)
def test_a_public_address_inside_of_another_is_public(form: str) -> None:
    assert PUBLIC.objection(embedded(form, "8.8.8.8")) == ""


@given(st.ip_addresses())
@example(ip_address("192.88.99.1"))
@example(ip_address("::2"))
@example(ip_address("fe80::1%1"))
def test_nothing_that_python_calls_private_is_public(address: IPv4Address | IPv6Address) -> None:
    if not PUBLIC.objection(address):
        for each in meant(address):
            assert each.is_global
            assert not each.is_multicast
            assert not each.is_reserved
            assert kind_of(each) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0x0.0x0.0x1/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.0.0.1./",
        "http://127。0。0。1/",
        "http://①②⑦.0.0.①/",
        "http://%31%32%37.0.0.1/",
        "http://user:secret@127.0.0.1:80/",
        "http:\\\\127.0.0.1\\x",
        "http://[::ffff:127.0.0.1]/",
        "http://[0:0:0:0:0:ffff:7f00:1]/",
        "http://[::1]:8080/",
        "http://[64:ff9b::7f00:1]/",
    ],
)
def test_odd_spellings_of_loopback_are_seen_through(url: str) -> None:
    address = parse(hostname_of(normalize(url)))
    assert address is not None
    assert PUBLIC.objection(address) == "loopback"


@pytest.mark.parametrize("url", ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://256.0.0.1/"])
def test_zone_ids_and_bad_addresses_are_no_urls(url: str) -> None:
    with pytest.raises(InvalidURL):
        normalize(url)


@pytest.mark.parametrize(
    "name", ["example.com", "127.0.0.1.nip.io", "localhost", "", "a", "1.2.3.4.5", "[", "[]", "[x]"]
)
def test_a_name_is_no_address(name: str) -> None:
    assert parse(name) is None


def test_names_of_this_machine() -> None:
    assert [
        each
        for each in ("localhost", "localhost.", "a.localhost", "localhost.com", "notlocalhost")
        if is_localhost(each)
    ] == [
        "localhost",
        "localhost.",
        "a.localhost",
    ]


@pytest.mark.parametrize(
    ("reach", "address", "objection"),
    [
        (("any",), "169.254.169.254", ""),
        (("private",), "10.0.0.1", ""),
        (("private",), "127.0.0.1", ""),
        (("private",), "169.254.169.254", METADATA),
        (("private",), "::ffff:169.254.169.254", METADATA),
        (("private", "169.254.169.254"), "169.254.169.254", ""),
        (("10.0.0.0/8",), "10.255.0.1", ""),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", ""),
        (("10.0.0.0/8",), "11.0.0.1", ""),
        (("10.0.0.0/8",), "127.0.0.1", "loopback"),
        (("64:ff9b::/96",), "64:ff9b::7f00:1", ""),
        (("fd00::/8",), "fd00::1", ""),
        (("fe80::/10",), "fe80::1%eth0", ""),
        (("127.0.0.1",), "127.0.0.2", "loopback"),
        (("any", "!10.1.0.0/16"), "10.1.2.3", "denied"),
        (("any", "!10.1.0.0/16"), "::ffff:10.1.2.3", "denied"),
        (("any", "!10.1.0.0/16"), "10.2.2.3", ""),
        (("!8.8.8.0/24",), "8.8.8.8", "denied"),
        (("!8.8.8.0/24",), "2002:808:808::1", "denied"),
        (("!2a00::/16",), "2a00::1", "denied"),
        (("start",), "10.0.0.1", "private"),
    ],
)
def test_what_words_permit(reach: tuple[str, ...], address: str, objection: str) -> None:
    assert permits(reach).objection(address) == objection


def test_only_any_without_denials_is_everything() -> None:
    assert [reach for reach in ((), ("any",), ("private",), ("any", "!8.8.8.8")) if permits(reach).everything] == [
        ("any",)
    ]


def test_words_as_they_are_given() -> None:
    assert words("any") == ("any",)
    assert words(["10.0.0.0/8", "start", "10.0.0.0/8"]) == ("10.0.0.0/8", "start")


@pytest.mark.parametrize("bad", ["", "!", "10.0.0.1/8", "example.com", "!any", "all", "10.0.0.0-10.0.0.9"])
def test_what_is_no_word(bad: str) -> None:
    with pytest.raises(ValueError, match=r"not a network such as 10\.0\.0\.0/8, nor one of"):
        words([bad])


def test_what_is_no_text() -> None:
    with pytest.raises(TypeError, match="reach: 10: text such as"):
        words([10])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType] - the test of it
