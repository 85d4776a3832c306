"""What went over the wire, counted."""

from __future__ import annotations

from streamcrawl.core import Failed, Outcome, Request, Run
from streamcrawl.headers import NO_HEADERS
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.streams.layer import Hooks, NamedLayer, layer


def download_stats() -> NamedLayer:
    """Count requests, responses, failures and bytes into the run's stats, right above `fetch`.

    The keys are downloader/request_count, request_method_count/METHOD, request_bytes (request line, header fields and
    body as this layer sees them), response_count, response_status_count/STATUS, response_bytes (as they came over the
    wire, where `fetch` measured them; else the body's), exception_count and exception_type_count/NAME.
    A request that is answered already does not count.

    Emits: what comes from below. One in, one out.
    """
    return layer("download_stats", _make)


def _make(run: Run) -> Hooks:
    stats = run.stats
    keys: dict[object, str] = {}
    sized, size = NO_HEADERS, 0
    """The last Headers seen, and their length: many requests share one object."""

    def key_of(kind: str, value: object) -> str:
        key = keys[value] = f"downloader/{kind}/{value}"
        return key

    def down(request: Request) -> Request:
        nonlocal sized, size
        if request.headers is not sized:
            sized = request.headers
            size = sum(len(name) + len(value) + 4 for name, value in sized.pairs())
        method = request.method
        count(stats, "downloader/request_count")
        count(stats, keys.get(method) or key_of("request_method_count", method))
        # "GET /path HTTP/1.1", an empty line: some 14 bytes besides the URL.
        count(stats, "downloader/request_bytes", len(method) + len(request.url) + 14 + size + len(request.body))
        return request

    def up(outcome: Outcome) -> Outcome:
        if outcome.request.answer is not None:
            return outcome
        if isinstance(outcome, Response):
            count(stats, "downloader/response_count")
            count(stats, keys.get(outcome.status) or key_of("response_status_count", outcome.status))
            count(stats, "downloader/response_bytes", outcome.wire_size or (0 if outcome.stream else len(outcome.body)))
        elif isinstance(outcome, Failed):
            kind = type(outcome.error).__name__
            count(stats, "downloader/exception_count")
            count(stats, keys.get(kind) or key_of("exception_type_count", kind))
        return outcome

    return Hooks(down, up)
