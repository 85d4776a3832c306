"""IP addresses: which are public, what the others are, and which of them somebody allows. Pure: nothing is resolved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

ANY, PRIVATE, PUBLIC, START = "any", "private", "public", "start"
"""The words that may stand among networks: every address; every one but a cloud's metadata service; nothing but public
ones, which go without saying; what the start of the request's site is on."""

WORDS = frozenset((ANY, PRIVATE, PUBLIC, START))

METADATA = "a cloud's metadata service"

_METADATA = frozenset(
    map(
        ip_address,
        (
            *(
                "169.254.169.254",
                "169.254.170.2",
                "169.254.170.23",
                "fd00:ec2::254",
                "fd00:ec2::23",
            ),  # AWS; the first: all
            *("fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"),  # Google, Azure, Alibaba, Oracle
        ),
    )
)
"""Where machines in a cloud get their credentials from. Some of these are in public networks."""

_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("127.0.0.0/8", "loopback"),
        ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"),
        ("192.168.0.0/16", "private"),
        ("169.254.0.0/16", "link-local"),
        ("100.64.0.0/10", "shared, behind a carrier's NAT"),
        ("0.0.0.0/8", "unspecified"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved"),
        ("198.18.0.0/15", "for benchmarks"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::1/128", "loopback"),
        ("::/128", "unspecified"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),  # site-local, deprecated by RFC 3879
        ("ff00::/8", "multicast"),
        ("64:ff9b:1::/48", "a local translation to IPv4"),  # RFC 8215
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
    )
)
_GLOBAL = IPv6Network("2000::/3")
"""RFC 4291 §2.4, RFC 3513: what IANA gives global unicast addresses out of."""

# IPv4-compatible, -mapped and -translated addresses, and the well-known prefix of NAT64 (RFC 6052): the last 32 bits.
_TAILS = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_ISATAP = (0x00005EFE, 0x02005EFE)
"""RFC 5214 §6.1: the upper half of an interface identifier whose lower half is an IPv4 address."""


def parse(host: str) -> Address | None:
    """The address that a host name is, as it stands in a normalized URL; None for a name."""
    bare = host[1:-1] if host.startswith("[") else host
    if not bare or not (":" in bare or bare[-1].isdigit()):
        return None  # the usual case, cheaply: no top-level domain ends in a digit
    return _address(bare)


@lru_cache(maxsize=1024)
def _address(text: str) -> Address | None:
    # Every request to a host without a name asks this.
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_localhost(name: str) -> bool:
    """Whether a host name means this machine, whatever a resolver says. Source: RFC 6761 §6.3."""
    name = name.removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def kind_of(address: Address) -> str:
    """What a single address is, if it is not public: "loopback", "private", …; "" if it is.

    Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), kept here because Python's change from
    one patch to the next.
    """
    if address in _METADATA:
        return METADATA
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), "")
    return next((kind for network, kind in _V6 if address in network), "" if address in _GLOBAL else "reserved")


def meant(address: Address) -> tuple[Address, ...]:
    """Where a connection to the address may end: the IPv4 addresses inside of it if it has some, or the address itself.

    Source: RFC 4291 §2.5.5 (compatible, mapped), RFC 2765 (translated), RFC 6052 (NAT64), RFC 3056 (6to4),
        RFC 4380 §4 (Teredo), RFC 5214 (ISATAP).
    """
    if isinstance(address, IPv4Address):
        return (address,)
    if address.scope_id:
        address = IPv6Address(int(address))  # fe80::1%eth0
    bits = int(address)
    if bits > 1 and any(address in network for network in _TAILS):
        return (IPv4Address(bits & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if (bits >> 32) & 0xFFFFFFFF in _ISATAP:
        return (address, IPv4Address(bits & 0xFFFFFFFF))
    return (address,)


@dataclass(frozen=True, slots=True)
class Permits:
    """Which addresses may be connected to: the public ones, what is allowed beyond them, less what is denied."""

    any: bool = False
    private: bool = False
    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()

    def objection(self, address: str | Address) -> str:
        """Why not: what the address is, or "denied"; "" if it may be connected to."""
        if isinstance(address, str):
            address = ip_address(address)
        if isinstance(address, IPv6Address) and address.scope_id:
            address = IPv6Address(int(address))
        ends = meant(address)
        if any(each in network for network in self.denied for each in (address, *ends)):
            return "denied"
        if self.any or any(address in network for network in self.allowed):
            return ""
        for each in ends:
            kind = kind_of(each)
            if not kind or (self.private and kind != METADATA):
                continue
            if not any(each in network for network in self.allowed):
                return kind
        return ""

    @property
    def everything(self) -> bool:
        """Whether there is no address that is refused."""
        return self.any and not self.denied


def words(reach: str | Iterable[str]) -> tuple[str, ...]:
    """One word or several, as a tuple without repetition.

    Raises: ValueError for what is neither a word nor a network, TypeError for what is no text.
    """
    given = (reach,) if isinstance(reach, str) else tuple(reach)
    for each in given:
        if not isinstance(each, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise TypeError(f'reach: {each!r}: text such as "10.0.0.0/8"')
        if each not in WORDS:
            network(each.removeprefix("!"))
    return tuple(dict.fromkeys(given))


def network(text: str) -> Network:
    """The network that a text such as "10.0.0.0/8" or "fd00::/8" means; a single address is one of its own.

    Raises: ValueError.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        known = ", ".join(f'"{word}"' for word in sorted(WORDS))
        raise ValueError(f"not a network such as 10.0.0.0/8, nor one of {known}: {text!r} ({error})") from None


@lru_cache(maxsize=1024)
def permits(reach: tuple[str, ...]) -> Permits:
    """What these words permit. "start" alone permits nothing: it depends on the site. Raises: ValueError."""
    networks = [each for each in reach if each not in WORDS]
    return Permits(
        ANY in reach,
        PRIVATE in reach,
        tuple(network(each) for each in networks if not each.startswith("!")),
        tuple(network(each[1:]) for each in networks if each.startswith("!")),
    )
