"""Everything that streamcrawl raises or puts into a `Failed`.

    StreamcrawlError
    ├── InvalidURL (ValueError)    not an absolute URL that can be parsed
    ├── FlowError                  a flow that cannot be wired or loaded
    ├── FetchError                 a request that was tried and brought no response
    │   ├── UnsupportedScheme      no transport for the scheme
    │   ├── ResolveError           the host name has no address
    │   ├── ConnectError           refused, unreachable, reset while connecting
    │   ├── ProxyError             the proxy could not be reached, or did not serve the request
    │   ├── TLSError               the handshake or the certificate
    │   ├── FetchTimeout           no answer in time
    │   ├── ProtocolError          an answer that is not HTTP, a connection lost half-way
    │   │   └── TruncatedBody      the body ended before its time
    │   ├── BodyTooLarge           over the size limit; reading was stopped
    │   ├── DecodeError            a Content-Encoding that could not be undone
    │   ├── AddressRefused         an address that the guard does not allow
    │   ├── InvalidRedirect        a redirect whose Location is no URL (`hops`)
    │   ├── TooManyRedirects       it was led on more often than it may be (`hops`)
    │   ├── HostGivenUp            the host was out of order for too long (`breaker`)
    │   └── NotRecorded            the cassette has no answer (`testing.cassette_replay`)
    ├── HttpError                  a status that the callback did not ask for
    ├── Drop                       raise it in an operator or a callback: "not this one"
    ├── CallbackError              a callback raised, or yielded what is no item
    │   └── InvalidOutput          of the wrong type; no layer is asked to mend it (`streams.scrape_hooks`)
    ├── OperatorError              an operator of the pipe raised
    ├── ItemRefused                a sink cannot take this item; it goes on with others
    ├── SinkError                  a sink has lost its storage, or cannot be opened
    │   ├── ObjectLost             a file that could not be stored (`storage.objects`)
    │   └── StoreError             a file that could not be stored, read or deleted (`storage.store`)
    ├── NotStorable                a request that a job cannot keep; the run stops
    ├── JobError                   a job directory that cannot be used, or is lost
    ├── LawBroken                  an operator broke a law of the stream; the run stops
    ├── CacheStoreError            a store of the HTTP cache that cannot be used (`caching.stored`)
    ├── CorruptEntry               what it stored is damaged, and counts as not there (`caching.entry`)
    ├── CookieFileError            a file of cookies that cannot be read or written (`cookies.files`)
    ├── BrokenFeed                 the rest of a feed is none; its records before were given (`records.broken`)
    ├── NotASitemap                what came in place of a sitemap (`spiders.sitemaps`)
    ├── CassetteError              a cassette that cannot be read or written (`testing.cassette_file`)
    └── ProgramFailed              a program that `streamcrawl chaos` ran (`cli.kills`)

In brackets: the module of `streamcrawl` that an error is imported from, where it is not this one.
An error's text is one line that names the thing it is about.
"""

from __future__ import annotations


class StreamcrawlError(Exception):
    """The root of the tree."""


class InvalidURL(StreamcrawlError, ValueError):
    """Not an absolute URL that can be parsed."""

    def __init__(self, url: object, why: str = "not an absolute URL") -> None:
        super().__init__(f"invalid URL {url!r}: {why}")
        self.url = url


class FlowError(StreamcrawlError):
    """A flow that cannot be wired or loaded."""


class FetchError(StreamcrawlError):
    """A request that was tried and brought no response."""


class UnsupportedScheme(FetchError):
    """No transport for the scheme."""


class ResolveError(FetchError):
    """The host name has no address."""


class ConnectError(FetchError):
    """Refused, unreachable, or reset while connecting."""


class ProxyError(FetchError):
    """The proxy could not be reached, or did not serve the request.

    Args:
        message: What happened.
        proxy: The proxy's URL, without credentials; "": none could be used.
        status: The HTTP status that it answered with; 0: none.
        beyond: It says that it could not reach the server: the fault may lie there.
        response: The answer that was taken for a ban, for the errback.
    """

    def __init__(
        self, message: str, *, proxy: str = "", status: int = 0, beyond: bool = False, response: object = None
    ) -> None:
        super().__init__(message)
        self.proxy = proxy
        self.status = status
        self.beyond = beyond
        self.response = response


class TLSError(FetchError):
    """The TLS handshake failed, or the certificate is not to be trusted."""


class FetchTimeout(FetchError):
    """No complete answer in time."""


class ProtocolError(FetchError):
    """An answer that is not HTTP, or a connection lost before the answer."""


class TruncatedBody(ProtocolError):
    """The body ended before its time."""


class BodyTooLarge(FetchError):
    """The body is over the size limit; reading was stopped."""


class DecodeError(FetchError):
    """A Content-Encoding that could not be undone."""


class AddressRefused(FetchError):
    """An address that the guard does not allow."""


class HttpError(StreamcrawlError):
    """A status that the callback did not ask for. `response` is there for the errback."""

    def __init__(self, status: int, url: str, response: object = None) -> None:
        super().__init__(f"HTTP status {status} from {url}")
        self.status = status
        self.response = response


class Drop(StreamcrawlError):
    """Raise it in an operator or a callback to say "not this one", with the reason."""

    def __init__(self, reason: str = "dropped") -> None:
        super().__init__(reason)
        self.reason = reason


class CallbackError(StreamcrawlError):
    """A callback raised, or yielded something that is neither item nor Request."""


class OperatorError(StreamcrawlError):
    """An operator of the pipe raised. `operator` is its name and place."""

    def __init__(self, operator: str, error: BaseException) -> None:
        super().__init__(f"operator {operator}: {type(error).__name__}: {error}")
        self.operator = operator
        self.error = error


class ItemRefused(StreamcrawlError):
    """A sink cannot take this item: a field that cannot be written, for example. It goes on with others."""


class SinkError(StreamcrawlError):
    """A sink has lost its storage, or cannot be opened; from `accept`, `flush` or `close` it stops the run."""


class NotStorable(StreamcrawlError):
    """A request that a job cannot keep: a lambda as its callback, an object in its meta. The run stops."""


class JobError(StreamcrawlError):
    """A job directory that cannot be used: another process has it, it is damaged, removed, its disk is full."""


class LawBroken(StreamcrawlError):
    """An operator broke a law of the stream (docs/laws.md); the run stops."""
