"""The Response: what came back, and how to read it and go on from it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol, cast

from streamcrawl.encoding import decode
from streamcrawl.errors import InvalidURL, StreamcrawlError
from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.urls import Base, without_fragment

if TYPE_CHECKING:
    from typing import Unpack

    from parsel import Selector, SelectorList

    from streamcrawl.core import Request, RequestOptions


class BodyStream(Protocol):
    """The body of a streamed Response: iterate it, or close it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class Response:
    """What a server answered. Change it with `replace()` only.

    Args:
        url: Where it came from, normalized, without a fragment (`request.url` keeps it).
        status: The HTTP status; 200 for `file:` and `data:`.
        headers: Header fields as they came.
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
        headers: Headers = NO_HEADERS,
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
        self.headers = headers
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
            from parsel import Selector

            kind = self.kind
            self._selector = Selector(text=self.text, type="html" if kind == "text" else kind)
        return self._selector

    def css(self, query: str) -> SelectorList[Selector]:
        """Select by CSS, with parsel's `::text` and `::attr(name)`."""
        return self.selector.css(query)

    def xpath(self, query: str, **variables: Any) -> SelectorList[Selector]:
        """Select by XPath."""
        return self.selector.xpath(query, **variables)

    def jmespath(self, query: str) -> SelectorList[Selector]:
        """Select from JSON by JMESPath."""
        return self.selector.jmespath(query)

    def urljoin(self, url: str) -> str:
        """`url` made absolute against the page, `<base href>` included. Raises: InvalidURL."""
        if self._base is None:
            self._base = self._find_base()
        return self._base.join(url)

    def _find_base(self) -> Base:
        if self.stream is None and b"<base" in self._body[:4096].lower() and self.kind == "html":
            from w3lib.html import get_base_url

            try:
                return Base(get_base_url(self.text[:4096], self.url))
            except ValueError:
                pass  # a base that is no URL does not count
        return Base(without_fragment(self.url))

    def follow(self, target: Any, **options: Unpack[RequestOptions]) -> Request:
        """A Request for a link of this page.

        Args:
            target: A URL, relative or not; a parsel Selector of `a`, `link`, `area` or an attribute; what has a `url`.
            options: As `Request` takes them.

        Raises: InvalidURL, ValueError if the target holds no link.
        """
        return self._request(self.urljoin(_href(target)), options)

    def follow_all(
        self,
        targets: Iterable[Any] | None = None,
        *,
        css: str | None = None,
        xpath: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> list[Request]:
        """A Request for each link, in order: of `targets`, or of what `css` or `xpath` selects.

        A link that cannot be parsed is still there, as it stands; the crawl counts it as dropped ("invalid URL").

        Raises: ValueError unless exactly one of `targets`, `css` and `xpath` is given.
        """
        if sum(way is not None for way in (targets, css, xpath)) != 1:
            raise ValueError("follow_all() takes one of: targets, css, xpath")
        if isinstance(targets, str):
            raise TypeError(
                f"follow_all({targets!r}): it takes several links; to select them, follow_all(css={targets!r})"
            )
        if targets is None:
            hrefs = (
                _hrefs(self.selector.root, xpath)
                if xpath is not None
                else _css_hrefs(self.selector.root, cast(str, css))
            )
        else:
            hrefs = [_href(target) for target in targets]
        if self._base is None:
            self._base = self._find_base()
        return [self._link(href, options) for href in hrefs] if options else self._links(hrefs)

    def _links(self, hrefs: list[str]) -> list[Request]:
        # This runs for every link of every page.
        make, join = type(self.request), cast(Base, self._base).join
        site, jar = self.request.site, self.request.cookiejar
        requests: list[Request] = []
        for href in hrefs:
            try:
                requests.append(make(join(href), site=site, cookiejar=jar))
            except InvalidURL:
                requests.append(make(href, site=site, cookiejar=jar))
        return requests

    def _link(self, href: str, options: RequestOptions) -> Request:
        try:
            url = cast(Base, self._base).join(href)
        except InvalidURL:
            url = href
        return self._request(url, options)

    def _request(self, url: str, options: RequestOptions) -> Request:
        if "cookiejar" not in options:
            options = {**options, "cookiejar": self.request.cookiejar}
        return type(self.request)(url, site=self.request.site, **options)

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.url}>"


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


_ONLY_HREF = re.compile(r"(?:^|[\s>+~,])(?:a|area|link)(?:[.#:\[][^\s>+~,]*)?$")
"""CSS whose last element has `href` and no `src`."""


@lru_cache(maxsize=256)
def _link_query(query: str, only_href: bool) -> Any:
    """The compiled XPath of the links in what `query` selects: attributes, so that no element objects are made."""
    from lxml import etree

    namespaces = {"re": "http://exslt.org/regular-expressions"}
    if re.search(r"(?:@[\w:*-]+|text\(\)|string\(.*\))\s*$", query) is None:
        query = f"({query})/@href" + ("" if only_href else f" | ({query})[not(@href)]/@src")
    return etree.XPath(query, namespaces=namespaces, smart_strings=False)


@lru_cache(maxsize=256)
def _css_query(query: str) -> Any:
    from parsel.csstranslator import HTMLTranslator

    only_href = all(_ONLY_HREF.search(part.strip()) is not None for part in query.split(","))
    return _link_query(HTMLTranslator().css_to_xpath(query), only_href)


def _css_hrefs(root: Any, query: str) -> list[str]:
    return _strings(_css_query(query)(root))


def _hrefs(root: Any, query: str) -> list[str]:
    return _strings(_link_query(query, False)(root))


def _strings(found: Any) -> list[str]:
    return cast("list[str]", found) if isinstance(found, list) else [str(found)]


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
