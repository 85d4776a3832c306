"""What requests may reach, and how: addresses, schemes, ports, sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Literal, NamedTuple

from streamcrawl.core import Dropped, Failed, Outcome, Request, Run
from streamcrawl.errors import AddressRefused
from streamcrawl.events import Notice
from streamcrawl.mistakes import nearest
from streamcrawl.scoping import OPEN_SCHEMES
from streamcrawl.streams.counting import count
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.transport.addresses import network, words
from streamcrawl.transport.body import shown
from streamcrawl.transport.ports import BAD_PORTS, port_of
from streamcrawl.transport.reach import literal, may_open, objection
from streamcrawl.transport.wire import SCHEMES
from streamcrawl.urls import WEB_SCHEMES, host_of, hostname_of

PUBLIC = ("public",)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
"""Source: RFC 3986 §3.1."""

HOSTS, TOLD = 65_536, 10_000  # with a verdict at hand; told of in one run


def guard(
    *,
    allow: str | Iterable[str] | None = None,
    deny: str | Iterable[str] = (),
    schemes: str | Iterable[str] | None = None,
    ports: Collection[int] | Literal["any"] | None = None,
    max_url: int | None = None,
    max_body: int | None = None,
) -> NamedLayer:
    """Refuse addresses, schemes and ports where a crawl has no business, and URLs and bodies that are too long.

    `fetch` guards addresses without this layer: a crawl that was not started on a private network never reaches one.
    The layer changes what is allowed, and refuses what can be told from the URL before anything is asked of it.

    Args:
        allow: What requests may connect to that have no `reach` of their own: "start", "private", "any", networks, or
            several of these; "public" or () for public addresses alone; None: as `fetch` has it.
        deny: Networks that no request may connect to, whatever allows it.
        schemes: The schemes that requests may have; None: all, but the web leads to no file and to no store.
        ports: The ports that http and https may use, "any", or None: all but those of BAD_PORTS.
        max_url: Characters of a URL, without its fragment; None: as many as there are.
        max_body: Bytes of a response's body, decoded, also for requests that ask for more; None: as they have it.

    Emits: `Dropped` ("refused address", "refused scheme", "refused port", "URL too long") for what the URL tells, else
        what comes from below, such as `Failed` with AddressRefused for a name that leads astray. One in, one out.
    Raises: ValueError for what is no network, no scheme, no port, or no size above 0, when built.
    """
    rules = _Rules(
        None if allow is None else words(allow),
        tuple(f"!{network(each)}" for each in ((deny,) if isinstance(deny, str) else deny)),
        _judging(schemes, ports),
        max_url,
        max_body,
    )
    for name, size in (("max_url", max_url), ("max_body", max_body)):
        if size is not None and size < 1:
            raise ValueError(f"guard({name}={size!r}): 1 or more")
    return layer("guard", rules.hooks)


class _Rules(NamedTuple):
    allowed: tuple[str, ...] | None
    denied: tuple[str, ...]
    judge: Callable[[str], tuple[str, bool]]
    max_url: int | None
    max_body: int | None

    def hooks(self, run: Run) -> Hooks:
        allowed, denied, judge, max_url, max_body = self
        verdicts: dict[str, tuple[str, bool]] = {}
        refuse = _refusing(run)
        changing = bool(denied) or allowed is not None

        def down(request: Request) -> Request | Dropped:
            host = host_of(request.url)
            verdict = verdicts.get(host)
            if verdict is None:
                if len(verdicts) >= HOSTS:
                    verdicts.clear()
                verdict = verdicts[host] = judge(host)
            reason, by_request = verdict
            if max_url is not None and len(request.url.partition("#")[0]) > max_url:
                reason = "URL too long"
            if max_body is not None and (request.max_size is None or request.max_size > max_body):
                request = request.replace(max_size=max_body)
            if changing:
                own = allowed if request.reach is None else words(request.reach)
                request = request.replace(reach=denied if own is None else (*(own or PUBLIC), *denied))
            if by_request and not reason:
                reason = _objection(run, request)
            if not reason:
                return request
            refuse(request, reason)
            return Dropped(request, reason)

        def up(outcome: Outcome) -> Outcome:
            if isinstance(outcome, Failed) and isinstance(outcome.error, AddressRefused):
                refuse(outcome.request, str(outcome.error), "refused address")
            return outcome

        return Hooks(down, up)


def _judging(
    schemes: str | Iterable[str] | None, ports: Collection[int] | Literal["any"] | None
) -> Callable[[str], tuple[str, bool]]:
    """Why a Host is refused, or "", and whether that depends on the request as well."""
    wanted = None if schemes is None else _schemes((schemes,) if isinstance(schemes, str) else schemes)
    if isinstance(ports, str) and ports != "any":
        raise ValueError(f'guard(ports={ports!r}): port numbers, or "any"')
    numbers = None if ports is None or ports == "any" else frozenset(ports)
    bad = [port for port in numbers or () if not 0 < port < 65_536]
    if bad:
        raise ValueError(f"guard(ports=…): {bad[0]!r} is no port: 1 to 65535")

    def judge(host: str) -> tuple[str, bool]:
        scheme = host.partition(":")[0]
        if wanted is not None and scheme not in wanted:
            return "refused scheme", False
        if scheme not in WEB_SCHEMES:
            return "", True
        port = port_of(host)
        if (port in BAD_PORTS) if ports is None else (numbers is not None and port not in numbers):
            return "refused port", False
        return "", literal(hostname_of(host)) is not None

    return judge


def _schemes(names: Iterable[str]) -> frozenset[str]:
    """Raises: ValueError for what is no scheme, or one that is misspelt, and for none at all."""
    wanted = frozenset(map(str.lower, names))
    if not wanted:
        raise ValueError("guard(schemes=()): nothing would be left")
    known = sorted({*SCHEMES, *OPEN_SCHEMES})
    for name in sorted(wanted.difference(known)):
        near = nearest(name, known)
        if near or not _SCHEME.fullmatch(name):  # others may be what a fetch of the user's own reads
            meant = f"did you mean {near!r}?" if near else "such as 'https'"
            raise ValueError(f"guard(schemes=…): {name!r} is no scheme; {meant}")
    return wanted


def _objection(run: Run, request: Request) -> str:
    """Why it is refused that the URL names an address, or a scheme of the user's own; "" if it is not."""
    if not request.url.startswith(("http:", "https:")):
        return "" if may_open(request) else "refused scheme"
    return "refused address" if objection(run, request) else ""


def _refusing(run: Run) -> Callable[..., None]:
    told: set[str] = set()
    stats = run.stats

    def refuse(request: Request, why: str, reason: str = "") -> None:
        key = f"guard/{(reason or why).replace(' ', '_')}"
        count(stats, key)
        host = hostname_of(request.url)
        if host not in told and len(told) < TOLD:
            told.add(host)
            if run.events.wants(Notice):
                text = f"guard: {why}: {shown(request.url)}; no more is said of {host}"
                run.events.emit(Notice(text=text, level="warning"))

    return refuse
