"""Which proxy: its URL taken apart, and what the environment and `no_proxy` say."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from streamcrawl.errors import InvalidURL
from streamcrawl.urls import host_of, normalize, scheme_of

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
"""The schemes that a proxy's URL may have, and their ports."""


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """A proxy's URL, taken apart. Neither `str` nor `repr` shows the credentials.

    Args:
        url: scheme://host:port.
        host: Its name or address, an IPv6 one without brackets.
        port: Its port.
        user: As bytes; None: no credentials.
        password: As bytes.
        authorization: What is sent to it as `Proxy-Authorization`; "": nothing.
    """

    url: str
    host: str
    port: int
    user: bytes | None = field(default=None, repr=False)
    password: bytes = field(default=b"", repr=False)
    authorization: str = field(default="", repr=False)

    @property
    def scheme(self) -> str:
        return scheme_of(self.url)

    @property
    def socks(self) -> bool:
        """Whether it speaks SOCKS, and not HTTP."""
        return self.url.startswith("socks")

    def __str__(self) -> str:
        return self.url


@lru_cache(maxsize=1024)
def proxy_address(url: str) -> ProxyAddress:
    """A proxy's URL taken apart; one without a scheme is `http`.

    Raises: ValueError, whose text shows no credentials.
    Source: RFC 3986 §3.2.1 (userinfo, percent-decoded), RFC 7617 §2 (Basic).
    """
    text = url.strip()
    if "://" not in text:
        text = f"http://{text}"
    scheme, _, rest = text.partition("://")
    userinfo, sign, place = rest.rpartition("@")
    shown = f"{scheme}://{'…@' if sign else ''}{place}"
    scheme = scheme.lower()
    if scheme not in PORTS:
        raise ValueError(f"proxy {shown}: its scheme is one of {', '.join(PORTS)}")
    if re.search(r"[/?#]", userinfo):
        raise ValueError(f"proxy {shown}: write / ? and # in its credentials as %2F, %3F and %23")
    found = re.fullmatch(r"(\[[^\]]*\]|[^:/?#\[\]]+)(?::([0-9]{0,5}))?/?", place)
    if found is None:
        raise ValueError(f"proxy {shown}: it is scheme://user:password@host:port, with nothing behind")
    port = int(found[2]) if found[2] else PORTS[scheme]
    try:
        host = host_of(normalize(f"http://{found[1]}/")).partition("://")[2]
    except InvalidURL as error:
        raise ValueError(f"proxy {shown}: {found[1]!r} is no host") from error
    if not 0 < port < 65536:
        raise ValueError(f"proxy {shown}: its port is 1 to 65535")
    made = ProxyAddress(f"{scheme}://{host}:{port}", host.strip("[]"), port)
    return _with_credentials(made, userinfo) if sign and userinfo else made


def _with_credentials(address: ProxyAddress, userinfo: str) -> ProxyAddress:
    name, _, secret = userinfo.partition(":")
    user, password = unquote_to_bytes(name), unquote_to_bytes(secret)
    basic = ""
    if not address.socks:
        basic = "Basic " + b64encode(user + b":" + password).decode("ascii")
    elif not (user.isascii() and password.isascii()) or max(len(user), len(password)) > 255:
        raise ValueError(f"proxy {address}: SOCKS credentials are ASCII, and at most 255 bytes each")
    elif password and address.scheme.startswith("socks4"):
        raise ValueError(f"proxy {address}: SOCKS4 has no passwords, only a user's name; socks5 has them")
    return ProxyAddress(address.url, address.host, address.port, user, password, basic)


@lru_cache(maxsize=1024)
def in_encoding(url: str, encoding: str) -> str:
    """The proxy's URL, its credentials percent-encoded in another encoding than UTF-8.

    Raises: ValueError if they cannot be, or if there are credentials and it is no proxy's URL (see `proxy_address`).
    """
    scheme, sign, rest = url.rpartition("://")
    userinfo, at, place = rest.rpartition("@")
    if not at:
        return url
    proxy_address(url)  # as it was given: what it may not have is escaped below
    parts: list[str] = []
    for part in userinfo.split(":", 1):
        raw = unquote_to_bytes(part)
        try:
            raw = raw.decode("utf-8").encode(encoding)
        except UnicodeDecodeError:
            pass  # no UTF-8: somebody has encoded it already
        except UnicodeEncodeError:
            raise ValueError(f"proxy {place}: its credentials cannot be written in {encoding}") from None
        parts.append(quote(raw, safe=""))
    return f"{scheme}{sign}{':'.join(parts)}@{place}"


class EnvironmentProxies(NamedTuple):
    """What the environment says."""

    by_scheme: dict[str, str]
    """"http", "https" and "all" to a proxy's URL."""
    no_proxy: str


def environment_proxies(environ: Mapping[str, str]) -> EnvironmentProxies:
    """Read `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in small letters before capitals.

    A variable that is empty says "none", its other spelling included. In a CGI program `HTTP_PROXY` is not read:
    there it is what a client sent as the header field `Proxy`.

    Raises: ValueError that names the variable and shows no credentials.
    """
    found: dict[str, str] = {}
    for scheme in ("http", "https", "all"):
        name = f"{scheme}_proxy"
        if name not in environ:
            name = name.upper()
            if name == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
                continue
        url = environ.get(name, "").strip()
        if url:
            try:
                proxy_address(url)
            except ValueError as error:
                raise ValueError(f"environment variable {name}: {error}") from error
            found[scheme] = url
    return EnvironmentProxies(found, environ.get("no_proxy", environ.get("NO_PROXY", "")))


class NoProxy:
    """Which URLs go to their servers directly.

    Args:
        entries: As in the variable `no_proxy`, separated by commas or blanks, or one by one:
            "example.com" and ".example.com": the host and all below it; "*.example.com": what is below it;
            "10.1.2.3", "10.0.0.0/8", "fd00::/8": addresses in URLs, names are not resolved;
            any of the first two with ":port": that port only; "*": everything.

    `odd` holds the entries that are none of these; they match nothing.
    """

    def __init__(self, entries: str | Iterable[str] = ()) -> None:
        self.odd: list[str] = []
        self._all = False
        self._names: dict[str, set[int]] = {}
        self._below: dict[str, set[int]] = {}
        """Names to ports; 0: any port."""
        self._networks: list[tuple[Network, int]] = []
        for entry in re.split(r"[\s,]+", entries if isinstance(entries, str) else ",".join(entries)):
            if entry == "*":
                self._all = True
            elif entry and not self._add(entry):
                self.odd.append(entry)
        # What is asked is asked again for every page of a host.
        self._of_host = lru_cache(maxsize=4096)(self._decide)

    def __bool__(self) -> bool:
        return self._all or bool(self._names or self._below or self._networks)

    def __call__(self, url: str) -> bool:
        """Whether a normalized URL is to be fetched without a proxy."""
        return bool(self) and self._of_host(host_of(url))

    def _add(self, entry: str) -> bool:
        place, port = _split_port(entry)
        network = _network(place)
        if network is not None:
            self._networks.append((network, port))
            return True
        names = self._names
        if place.startswith("*."):
            names, place = self._below, place[2:]
        if re.search(r"[:/\\?#@*\[\]]", place):
            return False
        try:
            name = host_of(normalize(f"http://{place.strip('.')}/")).partition("://")[2]
        except InvalidURL:
            return False
        names.setdefault(name, set()).add(port)
        return True

    def _decide(self, host: str) -> bool:
        if self._all:
            return True
        scheme, _, place = host.partition("://")
        name, port = _split_port(place)
        port = port or PORTS.get(scheme, 0)
        address = _address(name)
        if address is not None:
            return any(address in network and only in (0, port) for network, only in self._networks)
        wanted = {0, port}
        for depth, each in enumerate(_name_and_above(name.rstrip("."))):
            if not wanted.isdisjoint(self._names.get(each, ())):
                return True
            if depth and not wanted.isdisjoint(self._below.get(each, ())):
                return True
        return False


def _name_and_above(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.partition(".")[2]


def _split_port(place: str) -> tuple[str, int]:
    """A host or network and its port, 0 if there is none; an IPv6 address may stand without brackets."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})", place)
    return (found[1], int(found[2])) if found else (place, 0)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if not (name.startswith("[") or name[-1:].isdigit()):
        return None
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(place: str) -> Network | None:
    """The network of an address or of CIDR notation, short forms such as 169.254/16 included."""
    text, slash, size = place.strip("[]").partition("/")
    if slash and re.fullmatch(r"[0-9.]+", text):
        text += ".0" * (3 - text.count("."))
    try:
        return ipaddress.ip_network(f"{text.rstrip(']')}{slash}{size}", strict=False)
    except ValueError:
        return None
