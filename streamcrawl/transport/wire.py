"""What `fetch` stands on: one exchange with a server, a file or a `data:` URL, whatever the scheme."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeAlias

from streamcrawl.arguments import telling
from streamcrawl.core import Request, Run
from streamcrawl.errors import AddressRefused, FlowError, UnsupportedScheme
from streamcrawl.response import Response
from streamcrawl.transport.addresses import START, words
from streamcrawl.transport.body import shown
from streamcrawl.transport.outgoing import field_value
from streamcrawl.transport.reach import AGENTS, GUARDED, may_open, site_of
from streamcrawl.urls import WEB_SCHEMES, scheme_of
from streamcrawl.version import __version__

if TYPE_CHECKING:
    import ssl

    import httpx
    from aiohttp.abc import AbstractResolver

MIB = 1024 * 1024
USER_AGENT = f"streamcrawl/{__version__} (+https://pypi.org/project/streamcrawl/)"


@telling
@dataclass(frozen=True, slots=True)
class Wire:
    """How requests go out: a description, opened for each run.

    Args:
        timeout: Seconds for the whole exchange; for a streamed body, from chunk to chunk. `Request.timeout` wins.
        max_size: Bytes of body, decoded; reading stops there. `Request.max_size` wins.
        user_agent: Sent as User-Agent, unless the request has one; "" sends none.
        verify: Whether certificates are verified, or the SSL context to use.
        http2: Speak HTTP/2 where the server does. Needs the extra `streamcrawl[http2]`.
        decompress: Ask for gzip, deflate, br and zstd, and undo them.
        transport: Makes another httpx transport to send http and https with. It connects where it likes: what is said
            of `reach` and `resolver` is up to it.
        reach: What a request may connect to that has no `reach` of its own: "start", "private", "any", networks such as
            "10.0.0.0/8", or several of these; "public" or () for public addresses alone. "!10.1.0.0/16" refuses a
            network in any case. "start" is what the start request of its site is on: no crawl that was not started on a
            private network ever reaches one.
        resolver: Makes the `aiohttp.abc.AbstractResolver` that looks up host names; None: the operating system's.

    Raises: ValueError, TypeError; FlowError if `http2` is not installed.
    """

    timeout: float = 180.0
    max_size: int = 64 * MIB
    user_agent: str = USER_AGENT
    verify: bool | ssl.SSLContext = True
    http2: bool = False
    decompress: bool = True
    transport: Callable[[], httpx.AsyncBaseTransport] | None = None
    reach: str | tuple[str, ...] = START
    resolver: Callable[[], AbstractResolver] | None = None

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout={self.timeout!r}: seconds above 0")
        if self.max_size < 1:
            raise ValueError(f"max_size={self.max_size!r}: bytes, 1 or more")
        if not self.user_agent.isascii() or not self.user_agent.isprintable():
            raise ValueError(f"user_agent={self.user_agent!r}: printable ASCII")
        object.__setattr__(self, "user_agent", field_value("User-Agent", self.user_agent))
        if not isinstance(self.verify, bool):
            import ssl

            if not isinstance(self.verify, ssl.SSLContext):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
                raise TypeError(f"verify={self.verify!r}: True, False or an ssl.SSLContext")
        if self.transport is not None and self.http2:
            raise ValueError("http2=True has no effect on a transport of your own: set it there")
        if self.transport is not None and not callable(self.transport):
            raise TypeError(f"transport={self.transport!r}: a function that makes an httpx.AsyncBaseTransport")
        if self.resolver is not None and not callable(self.resolver):
            raise TypeError(f"resolver={self.resolver!r}: a function that makes an aiohttp.abc.AbstractResolver")
        object.__setattr__(self, "reach", words(self.reach))
        if self.transport is not None and (self.resolver is not None or self.reach != (START,)):
            raise ValueError("resolver and reach have no effect on a transport of your own: it connects where it likes")
        if self.http2 and find_spec("h2") is None:
            raise FlowError("http2=True needs the package h2: pip install 'streamcrawl[http2]'")

    def open(self, run: Run) -> OpenWire:
        """The Fetch of one run. Nothing is connected or imported before the first request."""
        return OpenWire(self, run)

    def timeout_of(self, request: Request) -> float:
        """Seconds for this request."""
        return self.timeout if request.timeout is None else request.timeout

    def max_size_of(self, request: Request) -> int:
        """Bytes of body for this request, decoded."""
        return self.max_size if request.max_size is None else request.max_size


class Transport(Protocol):
    """The way to the servers of some schemes, in one run."""

    async def __call__(self, request: Request) -> Response:
        """Raises: FetchError."""
        ...

    async def aclose(self) -> None: ...


Opener: TypeAlias = Callable[[Wire, Run], Transport]


class OpenWire:
    """A Wire in one run: a `core.Fetch`. Close it when the run is over."""

    __slots__ = ("_by_opener", "_by_scheme", "_run", "_wire")

    def __init__(self, wire: Wire, run: Run) -> None:
        self._wire = wire
        self._run = run
        self._by_scheme: dict[str, Transport] = {}
        self._by_opener: dict[Opener, Transport] = {}
        AGENTS[run] = wire.user_agent
        if wire.transport is None:
            GUARDED[run] = words(wire.reach)

    async def __call__(self, request: Request) -> Response:
        """Bring one Response. Raises: FetchError."""
        scheme = scheme_of(request.url)
        if scheme not in WEB_SCHEMES and scheme in SCHEMES:
            check_scheme(request)
        transport = self._by_scheme.get(scheme)
        if transport is None:
            transport = self._open(scheme, request.url)
        return await transport(request)

    def _open(self, scheme: str, url: str) -> Transport:
        opener = SCHEMES.get(scheme)
        if opener is None:
            known = ", ".join(sorted(SCHEMES))
            hint = f"; write http://{shown(url)}" if re.match(r"[\w.-]+:\d+(/|$)", url) else ""
            raise UnsupportedScheme(f"{shown(url)}: no transport for the scheme {scheme!r}; there are: {known}{hint}")
        transport = self._by_opener.get(opener)
        if transport is None:
            transport = self._by_opener[opener] = opener(self._wire, self._run)
        self._by_scheme[scheme] = transport
        return transport

    async def aclose(self) -> None:
        """Close every connection, and every body that is still being read."""
        opened = list(self._by_opener.values())
        self._by_scheme.clear()
        self._by_opener.clear()
        for transport in opened:
            await transport.aclose()

    def __repr__(self) -> str:
        return f"<OpenWire {', '.join(sorted(self._by_scheme)) or 'unused'}>"


def check_scheme(request: Request) -> None:
    """Raises: AddressRefused if a page of the web has led to what is the user's own, such as a file."""
    if not may_open(request):
        raise AddressRefused(f"{shown(request.url)}: the web, here {site_of(request)}, does not lead there")


def _http(wire: Wire, run: Run) -> Transport:
    if wire.transport is not None:
        from streamcrawl.transport.http import HttpTransport

        return HttpTransport(wire, run)
    from streamcrawl.transport.guarded import GuardedTransport

    return GuardedTransport(wire, run)


def _file(wire: Wire, run: Run) -> Transport:
    from streamcrawl.transport.file import FileTransport

    return FileTransport(wire, run)


def _data(wire: Wire, run: Run) -> Transport:
    from streamcrawl.transport.data import DataTransport

    return DataTransport(wire, run)


SCHEMES: dict[str, Opener] = {"data": _data, "file": _file, "http": _http, "https": _http}
"""Scheme to what opens its transport. Schemes with the same opener share one transport in a run."""
