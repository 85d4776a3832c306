"""The Response: what came back, and how to read it and go on from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol, cast

from streamcrawl.encoding import declares_utf8, decode
from streamcrawl.errors import InvalidURL, StreamcrawlError
from streamcrawl.headers import NO_HEADERS, HeaderPairs, Headers
from streamcrawl.hrefs import NAMESPACES, all_hrefs, chosen, css_hrefs, css_path, is_large, xpath_hrefs
from streamcrawl.referrer import declared_policies
from streamcrawl.trees import gather, html_tree
from streamcrawl.urls import Base, Within, encoded_query, masked, scheme_of, within_test, without_fragment

if TYPE_CHECKING:
    from typing import Unpack

    from parsel import Selector, SelectorList

    from streamcrawl.core import Callback, Request, RequestOptions


class BodyStream(Protocol):
    """The body of a streamed Response: iterate it, or close it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class Extractor(Protocol):
    """What finds links on a page, such as a `LinkExtractor`."""

    def extract_links(self, response: Response, /) -> Iterable[Any]:
        """The links: URLs, or what has a `url`."""
        ...


class Response:
    """What a server answered. Change it with `replace()` only.

    Args:
        url: Where it came from, normalized, without a fragment (`request.url` keeps it).
        status: The HTTP status; 200 for `file:` and `data:`.
        headers: Header fields as they came; `Headers`, a dict or (name, value) pairs.
        body: The whole body, decoded; empty if `stream` is given.
        request: The Request that it answers.
        flags: Notes of layers, such as "cached".
        encoding: The characters' encoding if it is known better than the page knows.
        protocol: Such as "HTTP/1.1".
        ip_address: Of the server.
        latency: Seconds from sending the request to the header fields.
        wire_size: Bytes of body as they came over the wire.
        stream: The body while it comes, for `Request(stream=True)`.
    """

    __slots__ = (
        "_base",
        "_body",
        "_encoding",
        "_explicit",
        "_policies",
        "_selector",
        "_text",
        "flags",
        "headers",
        "ip_address",
        "latency",
        "protocol",
        "request",
        "status",
        "stream",
        "url",
        "wire_size",
    )

    def __init__(
        self,
        url: str,
        status: int = 200,
        headers: HeaderPairs = NO_HEADERS,
        body: bytes = b"",
        request: Request | None = None,
        *,
        flags: tuple[str, ...] = (),
        encoding: str | None = None,
        protocol: str = "",
        ip_address: str = "",
        latency: float = 0.0,
        wire_size: int = 0,
        stream: BodyStream | None = None,
    ) -> None:
        if request is None:
            from streamcrawl.core import Request

            request = Request(url)
        self.url = url
        self.status = status
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self._body = body
        self.request: Request = request
        self.flags = flags
        self._explicit = encoding
        self._encoding = encoding
        self.protocol = protocol
        self.ip_address = ip_address
        self.latency = latency
        self.wire_size = wire_size
        self.stream = stream
        self._text: str | None = None
        self._selector: Selector | None = None
        self._base: Base | None = None
        self._policies: str | None = None

    def replace(self, **changes: Any) -> Response:
        """A copy with these arguments of the constructor changed."""
        arguments: dict[str, Any] = {
            "url": self.url,
            "status": self.status,
            "headers": self.headers,
            "body": self._body,
            "request": self.request,
            "flags": self.flags,
            "encoding": self._explicit,
            "protocol": self.protocol,
            "ip_address": self.ip_address,
            "latency": self.latency,
            "wire_size": self.wire_size,
            "stream": self.stream,
        }
        return Response(**{**arguments, **changes})

    @property
    def body(self) -> bytes:
        """The whole body. Raises: StreamcrawlError if the response is streamed and was not read yet."""
        if self.stream is not None:
            raise StreamcrawlError(
                f"the body of {self.url} is streamed: iterate response.stream, or await response.read()"
            )
        return self._body

    @property
    def size(self) -> int:
        """Bytes of body in memory."""
        return len(self._body)

    async def read(self) -> bytes:
        """Read a streamed body to its end and keep it. Raises: FetchError."""
        if self.stream is not None:
            chunks = [chunk async for chunk in self.stream]
            self._body = b"".join(chunks)
            self.stream = None
        return self._body

    @property
    def meta(self) -> dict[str, Any]:
        """The request's `meta`."""
        return self.request.meta

    @property
    def cb_kwargs(self) -> Mapping[str, Any]:
        """The request's `cb_kwargs`."""
        return self.request.cb_kwargs

    @property
    def kind(self) -> str:
        """What the body is to be parsed as: "html", "xml", "json" or "text"."""
        media = (self.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if media == "text/html":
            return "html"
        if media == "application/xhtml+xml":
            return "html"
        if media.endswith(("/json", "+json")):
            return "json"
        if media.endswith(("/xml", "+xml")):
            return "xml"
        if media.startswith("text/") and media != "text/plain":
            return "text"
        return _sniff(self._body)

    @property
    def text(self) -> str:
        """The body as characters."""
        if self._text is None:
            self._encoding, self._text = decode(self.body, self.headers.get("content-type"), self._encoding)
        return self._text

    @property
    def encoding(self) -> str:
        """The Python name of the encoding that `text` was decoded with."""
        _ = self.text
        return self._encoding or "utf-8"

    def json(self) -> Any:
        """The body parsed as JSON. Raises: ValueError."""
        return json.loads(self.text)

    @property
    def selector(self) -> Selector:
        """The parsed page (parsel)."""
        if self._selector is None:
            make, body, kind = _selector_class(), self.body, self.kind
            root = html_tree(body) if kind in ("html", "text") and self._declares_utf8() else None
            if root is not None:
                self._selector = make(root=root, type="html")
            else:
                self._selector = make(text=self.text, type="html" if kind == "text" else kind)
            if self._selector.type == "html" and self._selector.root.getnext() is not None:
                gather(self._selector.root)
        return self._selector

    def _declares_utf8(self) -> bool:
        if self._encoding is None and declares_utf8(self._body, self.headers.get("content-type")):
            self._encoding = "utf-8"
        return self._encoding == "utf-8"

    def css(self, query: str) -> SelectorList[Selector]:
        """Select by CSS, with parsel's `::text` and `::attr(name)`."""
        if is_large(self.size, query) and self.selector.type == "html":
            return self.selector.xpath(css_path(query, large=True), namespaces=NAMESPACES)
        return self.selector.css(query)

    def xpath(self, query: str, **variables: Any) -> SelectorList[Selector]:
        """Select by XPath."""
        return self.selector.xpath(query, **variables)

    def jmespath(self, query: str) -> SelectorList[Selector]:
        """Select from JSON by JMESPath."""
        return self.selector.jmespath(query)

    def urljoin(self, url: str) -> str:
        """`url` made absolute against the page, `<base href>` and the page's encoding included. Raises: InvalidURL."""
        return self._joined().join(self._written(url))

    def joining(self) -> Callable[[str], str]:
        """`urljoin` for many links of the page, as quick as the page's encoding allows."""
        return self._joined().join if self._is_utf() else self.urljoin

    def _is_utf(self) -> bool:
        """Whether it is known to be UTF-8: then links mean what they say."""
        return self._encoding == "utf-8" or (self._text is not None and self.encoding.startswith("utf"))

    def _written(self, href: str) -> str:
        """`href` with its query in the page's encoding."""
        if href.isascii() or self.stream is not None or self.encoding.startswith("utf"):
            return href
        return encoded_query(href, self.encoding, scheme_of(self.url))

    def _joined(self) -> Base:
        if self._base is None:
            self._base = self._find_base()
        return self._base

    def _find_base(self) -> Base:
        base = Base(without_fragment(self.url))
        href = None if self.stream is not None else self._base_href()
        if href is not None:
            try:
                url = base.join(href)
            except InvalidURL:
                return base  # a base that is no URL does not count
            if scheme_of(url) not in ("data", "javascript"):
                return Base(url)
        return base

    def _base_href(self) -> str | None:
        """What the first `<base href>` says. Source: HTML Standard, "document base URL"."""
        # Most pages have none. The tree, if there is one, knows that at once, from its names; else the bytes tell.
        if self._selector is None and not (b"<base" in self._body.lower() or b"\0" in self._body[:4]):
            return None
        if self.kind != "html":
            return None
        hrefs = (element.get("href") for element in self.selector.root.iter("base"))
        return next((href for href in hrefs if href is not None), None)

    @property
    def referrer_policies(self) -> str:
        """What the page says of the referrers of its links: `Referrer-Policy`, then each `<meta name="referrer">` of
        its head, with commas; the last one that is known holds. "" if it says nothing.

        Source: W3C Referrer Policy §4; HTML Standard §4.2.5.1 ("referrer").
        """
        if self._policies is None:
            said = self.headers.get("referrer-policy") or ""
            # To parse a page for this alone takes long: only if the word is in it.
            parsed = self._selector is not None or b"referrer" in self._body.lower()
            if parsed and self.stream is None and self.kind == "html":
                said = ",".join((said, *declared_policies(self.selector.root)))
            self._policies = said
        return self._policies

    def follow(self, target: Any, *callbacks: Callback, **options: Unpack[RequestOptions]) -> Request:
        """A Request for a link of this page.

        Args:
            target: A URL, relative or not; a parsel Selector of `a`, `link`, `area` or an attribute; what has a `url`.
            callbacks: One at most: the option `callback`, given by position.
            options: As `Request` takes them.

        Raises: InvalidURL, ValueError if the target holds no link.
        """
        if callbacks:
            options = _with_callback(callbacks, options)
        return self._request(self.urljoin(_href(target)), options)

    def follow_all(
        self,
        targets: Iterable[Any] | Extractor | None = None,
        *callbacks: Callback,
        css: str | None = None,
        xpath: str | None = None,
        within: Within = "any",
        unique: bool = False,
        **options: Unpack[RequestOptions],
    ) -> list[Request]:
        """A Request for each link, in order.

        A link that cannot be parsed is still there, as it stands; the crawl counts it as dropped ("invalid URL").

        Args:
            targets: The links, or a `LinkExtractor` that finds them. If neither this nor `css` nor `xpath` is given:
                all links of the page (`a` and `area`).
            callbacks: One at most: the option `callback`, given by position.
            css: Selects the links.
            xpath: Selects the links.
            within: Only those that lead no farther than to the same "host", "domain" or "origin" as the page has; no
                Request is made for others, nor for those that cannot be parsed.
            unique: Only the first of those with the same URL, fragments left out unless there is `keep_fragments`.
            options: As `Request` takes them.

        Raises: ValueError if more than one of `targets`, `css` and `xpath` is given, or for another word than these.
        """
        if callbacks:
            options = _with_callback(callbacks, options)
        hrefs = self._found(targets, css, xpath)
        if within == "any" and not unique:
            if not options:
                return self._links(hrefs)
            return [self._request(url, options) for url in self._join_all(hrefs)]
        inside = None if within == "any" else within_test(self.url, within)
        key = (str if options.get("keep_fragments") else without_fragment) if unique else None
        return [self._request(url, options) for url in chosen(hrefs, self.joining(), inside, key)]

    def _found(self, targets: Iterable[Any] | Extractor | None, css: str | None, xpath: str | None) -> list[str]:
        if sum(way is not None for way in (targets, css, xpath)) > 1:
            raise ValueError("follow_all() takes one of: targets, css, xpath")
        if css is not None:
            return css_hrefs(self.selector.root, css, large=is_large(self.size, css))
        if xpath is not None:
            return xpath_hrefs(self.selector.root, xpath)
        if targets is None:
            return all_hrefs(self.selector.root)
        if isinstance(targets, str):
            raise TypeError(
                f"follow_all({targets!r}): it takes several links; to select them, follow_all(css={targets!r})"
            )
        links: Iterable[Any] = targets if isinstance(targets, Iterable) else targets.extract_links(self)
        return [_href(link) for link in links]

    def _links(self, hrefs: list[str]) -> list[Request]:
        # This runs for every link of every page.
        make, site, jar = type(self.request), self.request.site, self.request.cookiejar
        return [make(url, site=site, cookiejar=jar) for url in self._join_all(hrefs)]

    def _join_all(self, hrefs: list[str]) -> list[str]:
        """Each made absolute; one that cannot be joined stays as it stands."""
        if not self._is_utf():
            hrefs = [self._written(href) for href in hrefs]
        return self._joined().join_all(hrefs)

    def _request(self, url: str, options: RequestOptions) -> Request:
        if "cookiejar" not in options:
            options = {**options, "cookiejar": self.request.cookiejar}
        return type(self.request)(url, site=self.request.site, **options)

    def __repr__(self) -> str:
        return f"<Response {self.status} {masked(self.url)}>"


def _with_callback(callbacks: Sequence[Callback], options: RequestOptions) -> RequestOptions:
    if len(callbacks) > 1 or "callback" in options:
        raise TypeError("one callback is given by position, or as callback=…; other options have names")
    return {**options, "callback": callbacks[0]}


@lru_cache(maxsize=1)
def _selector_class() -> type[Selector]:
    from parsel import Selector  # slow to import, and not every crawl has pages to select from

    return Selector


def body_digest(body: bytes) -> bytes:
    """16 bytes that stand for a body: the same, if and only if nothing in it has changed."""
    return blake2b(body, digest_size=16).digest()


def _sniff(body: bytes) -> str:
    head = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"{", b"[")):
        return "json"
    if b"<!doctype html" in head or b"<html" in head:
        return "html"
    if head.startswith(b"<?xml"):
        return "xml"
    return "html"


def _href(target: Any) -> str:
    if isinstance(target, str):
        return target
    if isinstance(target, list):
        many = cast("list[object]", target)
        raise ValueError(
            f"{len(many)} links at once: follow() takes one, such as {'response.css(...)[0]'}, follow_all() takes all"
        )
    url = getattr(target, "url", None)
    if isinstance(url, str):
        return url
    root = getattr(target, "root", target)
    if isinstance(root, str):
        return root
    get = getattr(root, "get", None)
    href = get("href") if callable(get) else None
    if href is None and callable(get):
        href = get("src")
    if isinstance(href, str):
        return href
    raise ValueError(f"no link in {target!r}")
