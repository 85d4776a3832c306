"""Which addresses a request may connect to: what its site was started on decides, unless somebody has said so."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from ipaddress import ip_network
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from streamcrawl.core import Lease, Request, Run
from streamcrawl.errors import AddressRefused, FetchError
from streamcrawl.scoping import may_lead
from streamcrawl.transport.addresses import ANY as ANYTHING
from streamcrawl.transport.addresses import (
    METADATA,
    PRIVATE,
    PUBLIC,
    START,
    Address,
    is_localhost,
    kind_of,
    parse,
    permits,
    words,
)
from streamcrawl.urls import host_of, hostname_of

ANY = (ANYTHING,)

STATE = "reach"
"""`run.state` has whether a name was private when the run first asked: 1 or 0. A job keeps it."""

SITES = 50_000
"""Sites whose standing is known at a time; without a job, no more than these are remembered at all."""

KINDS = 1_000
"""Different sets of words that are kept at hand."""

GUARDED: WeakKeyDictionary[Run, tuple[str, ...]] = WeakKeyDictionary()
"""What the Wire of each run lets those requests reach that have no words of their own."""

AGENTS: WeakKeyDictionary[Run, str] = WeakKeyDictionary()
"""What the Wire of each run sends as User-Agent with those requests that have none of their own; "": nothing."""

ALLOWING = "Request(reach=…), Wire(reach=…) or ops.guard(allow=…) allows it"


class Names(Protocol):
    """The addresses of host names, in one run."""

    async def addresses(self, name: str) -> Iterable[str]:
        """Raises: OSError."""
        ...


class Reach(tuple[str, ...]):
    """Words, and the names that connections are to look up and check with them. Equal to the tuple of its words."""

    names: Names


class Reaching:
    """What the requests of one run may reach.

    Where "start" is among the words, it depends on the host that the start request of the request's site named. That
    name is looked up once, before the first request of the site goes out: if all its addresses are private, the site is
    on a private network, and its requests may reach what is there; if not, they never do, whatever names turn into.

    Args:
        run: Remembers what sites are.
        reach: The words for requests that have none of their own; None: nothing is checked.
        names: Looks them up; the connections do so too.
    """

    __slots__ = ("_base", "_bound", "_forgot", "_names", "_run", "_sites", "_standings")

    def __init__(self, run: Run, reach: str | Iterable[str] | None = None, names: Names | None = None) -> None:
        self._run = run
        self._base = ANY if reach is None else words(reach)
        self._names = names
        self._bound: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._sites: dict[str, tuple[str, ...]] = {}
        """By site, what its requests may reach that have no words of their own."""
        self._standings: MutableMapping[str, Any] | None = None
        self._forgot = False

    def of(self, request: Request) -> tuple[str, ...]:
        """Networks beyond the public ones that it may connect to, or ANY.

        A request through a proxy connects to the proxy, which is the user's own choice: ANY.

        Raises: FetchError for bad words in the request; AddressRefused for one that a proxy would be asked to bring
            from an address that it may not reach (names are the proxy's to look up).
        """
        if request.reach is None and not request.proxy:
            known = self._sites.get(request.site)
            if known is not None:
                return known
        reach = self._settled(request)
        if not request.proxy:
            return reach
        host = hostname_of(request.url)
        address = literal(host)
        why = "" if address is None else permits(reach).objection(address)
        if why:
            raise refused(host, str(address), why)
        return self._with_names(ANY)

    def knows(self, request: Request) -> bool:
        """Whether `of` has all that it needs; otherwise await `learn` first."""
        if request.reach is None and (request.proxy or request.site in self._sites):
            return True
        if self._names is None or request.proxy or START not in self._words(request):
            return True
        name = site_name(request)
        return _standing(name, ()) is not None or self._known(name) is not None

    async def learn(self, request: Request) -> None:
        """Look up what the request's site was started on, unless that is known. Raises: OSError."""
        assert self._names is not None
        name = site_name(request)
        if self._forgot and not _is_of_start(request):
            return  # what was forgotten is not asked anew for the sake of a link: by now the name may have turned
        addresses = [address for each in await self._names.addresses(name) if (address := parse(each)) is not None]
        if self._known(name) is None and addresses:
            self._remember(name, private=all(_is_private(each, self._words(request)) for each in addresses))

    def _words(self, request: Request) -> tuple[str, ...]:
        """Those of the request, or of the Wire. Raises: FetchError."""
        try:
            return combined(self._base, request.reach)
        except (TypeError, ValueError) as error:
            raise FetchError(f"{request.url}: {error}") from error

    def _settled(self, request: Request) -> tuple[str, ...]:
        reach = self._words(request)
        if START in reach:
            name = site_name(request)
            found = _standing(name, reach)
            if found is None:
                found = self._known(name)
            reach = without_start(reach, name, private=bool(found))
            if found is None:
                return self._with_names(reach)
        reach = self._with_names(reach)
        if request.reach is None and request.site:
            if len(self._sites) >= SITES:
                self._sites.clear()
            self._sites[request.site] = reach
        return reach

    def _with_names(self, words: tuple[str, ...]) -> tuple[str, ...]:
        if self._names is None:
            return words
        reach = self._bound.get(words)
        if reach is None:
            reach = Reach(words)
            reach.names = self._names
            if len(self._bound) >= KINDS:
                self._bound.clear()
            self._bound[words] = reach
        return reach

    def _known(self, name: str) -> bool | None:
        if self._standings is None:
            self._standings = self._run.state(STATE)
        found = self._standings.get(name)
        return None if found is None else bool(found)

    def _remember(self, name: str, *, private: bool) -> None:
        standings = self._standings
        assert standings is not None
        if not self._run.durable and len(standings) >= SITES:
            self._forgot = True
            # Of the private ones there are few, and forgetting one would lock its own pages out.
            oldest = [each for each, found in standings.items() if not found] or list(standings)
            for each in oldest[: SITES // 4]:
                del standings[each]
        standings[name] = int(private)

    def __repr__(self) -> str:
        return f"<Reaching {' '.join(self._base) or 'public addresses'}: {len(self._sites)} sites known>"


def objection(run: Run, request: Request) -> str:
    """What `fetch` will have against a request whose URL names an address, as far as its own words tell; or ""."""
    address = literal(hostname_of(request.url))
    if address is None or request.reach is None:
        return ""
    reach = words(request.reach)
    if denies_only(reach):
        return permits((*ANY, *reach)).objection(address)  # fetch knows what is allowed
    if START in reach:
        name = site_name(request)
        found = _standing(name, reach)
        if found is None:
            found = run.state(STATE).get(name, 1)  # not known yet: fetch will look the name up
        reach = without_start(reach, name, private=bool(found))
    return permits(reach).objection(address)


def stored_objection(run: Run, request: Request, url: str, address: str) -> str:
    """What the `fetch` of the run would have against a stored response as the answer to the request; or "".

    Of a site that was not looked up yet, only the pages of its own host may come from a private network: what its name
    leads to now is not known.

    Args:
        run: Whose Wire it goes by; with a `fetch` of the user's, that guards nothing, by the request's own words alone.
        request: Who asks.
        url: Of the response.
        address: The server's that it came from; "": not known, as through a proxy.
    """
    base = GUARDED.get(run)
    at = parse(address) if address else literal(hostname_of(url))
    if at is None or (base is None and request.reach is None):
        return ""
    try:
        reach = combined(ANY if base is None else base, request.reach)
    except (TypeError, ValueError) as error:
        return str(error)
    if START in reach:
        name = site_name(request)
        found = _standing(name, reach)
        if found is None:
            found = run.state(STATE).get(name, hostname_of(url).removesuffix(".") == name)
        reach = without_start(reach, name, private=bool(found))
    return permits(reach).objection(at)


def combined(base: tuple[str, ...], own: Iterable[str] | None) -> tuple[str, ...]:
    """The words that hold for a request: its own, or those of the Wire. Raises: TypeError, ValueError for bad ones."""
    if own is None:
        return base
    reach = words(own)
    if denies_only(reach):
        return (*base, *reach)
    return tuple(each for each in reach if each != PUBLIC) if PUBLIC in reach else reach


def denies_only(reach: tuple[str, ...]) -> bool:
    """Whether the words only refuse: then they are added to what `fetch` has."""
    return bool(reach) and all(each.startswith("!") for each in reach)


def site_of(request: Request) -> str:
    """The Host of the start request that it descends from."""
    if request.site:
        return request.site
    root = _root(request)
    # With no crawl around it, every request that is not fetched for another is its own start.
    return root.site or host_of(root.via[0] if root.via else root.url)


def site_name(request: Request) -> str:
    """The host name of that start request, without a dot at the end."""
    return hostname_of(site_of(request)).removesuffix(".")


def may_open(request: Request) -> bool:
    """Whether the request may use its scheme: the web leads to no file and no store. `data:` has its content with it.

    One with `reach=("any",)` may: that is somebody's own word.
    """
    url = request.url
    return url.startswith("data:") or may_lead(site_of(request), url) or ANYTHING in (request.reach or ())


def without_start(reach: tuple[str, ...], name: str, *, private: bool) -> tuple[str, ...]:
    """The words, "start" replaced by what it comes to for a site of this name."""
    more: tuple[str, ...] = ()
    if private:
        address = parse(name)
        # Who starts at the metadata service itself means it; a name that leads there may be anybody's.
        own = None if address is None or kind_of(address) != METADATA else ip_network(address)
        more = (PRIVATE,) if own is None else (PRIVATE, str(own))
    return tuple(dict.fromkeys((*(each for each in reach if each != START), *more)))


def literal(name: str) -> Address | None:
    """The address that a host name is, or that localhost has; None for any other name."""
    return parse("127.0.0.1" if is_localhost(name) else name)


def refused(host: str, address: str, why: str) -> AddressRefused:
    """The error for an address that a request may not connect to."""
    where = host if host.strip("[]") == address else f"{host} ({address})"
    if why == "denied":
        return AddressRefused(f"{where}: the address is denied")
    return AddressRefused(f"{where}: the address is {why}, and this request may not reach it; {ALLOWING}")


def _standing(name: str, reach: tuple[str, ...]) -> bool | None:
    """What the name alone says, of localhost, of addresses, and of what has no host; None: it is to be looked up."""
    if is_localhost(name):
        return True
    if not name:
        return False
    address = parse(name)
    return None if address is None else bool(permits(reach).objection(address))


def _is_private(address: Address, reach: tuple[str, ...]) -> bool:
    """Whether it takes "private" to reach it. A metadata service is not reached by way of a name."""
    return bool(permits(reach).objection(address)) and not permits((*reach, PRIVATE)).objection(address)


def _root(request: Request) -> Request:
    lease: Lease | None = request.lease
    if lease is None:
        return request
    while lease.parent is not None:
        lease = lease.parent
    return lease.request


def _is_of_start(request: Request) -> bool:
    """Whether it is a start request, or what is fetched for one before it goes out, such as its robots.txt."""
    root = _root(request)
    return not root.via and (root.start or not root.site)
