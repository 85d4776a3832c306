"""Which failures say that the server is out of order: those that a stale response may stand in for."""

from __future__ import annotations

import errno

from streamcrawl.backoff import TRANSIENT_ERRORS
from streamcrawl.breaker import HostGivenUp
from streamcrawl.errors import OperatorError

SERVER_ERRORS = (500, 502, 503, 504)
"""What stale-if-error takes for an error, failed connections apart. Source: RFC 5861 §4."""

_FAILURES = (*TRANSIENT_ERRORS, HostGivenUp)
_MISTAKES = (ValueError, RuntimeError)
"""Of clients' errors, those about what was asked for: URLs that are none, bodies that were read already."""
_SHORTAGES = (errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EROFS)
_OF_FILES = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError)


def server_failed(error: BaseException) -> bool:
    """Whether the server could not be reached, broke off or had an error of its own.

    Not: what is wrong with the request (its URL, an address that is refused, a limit), and mistakes of a program. Of
    what a `fetch` or a layer of the user's raises, errors of sockets and of HTTP clients are read as if ours had them.
    """
    if not isinstance(error, OperatorError):
        return isinstance(error, _FAILURES)
    raised = error.error
    status = _status(raised)
    if status is not None:
        return status in SERVER_ERRORS
    if isinstance(raised, (EOFError, TimeoutError)):
        return True  # asyncio's streams end with an EOFError
    if not isinstance(raised, Exception) or _is_local(raised):
        return False
    from streamcrawl.transport.http import translate  # it loads the HTTP clients, for those who have their own too

    return isinstance(translate(raised, "http://server/"), TRANSIENT_ERRORS)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of some client is about: what their `raise_for_status` raises."""
    for each in (getattr(error, "response", None), error):
        for name in ("status_code", "status", "code"):
            value = getattr(each, name, None)
            if isinstance(value, int) and 100 <= value <= 599:
                return value
    return None


def _is_local(error: Exception) -> bool:
    """Whether it is about a file, what was asked for, or what this machine is short of, and not about the network."""
    if isinstance(error, (*_MISTAKES, *_OF_FILES)) or getattr(error, "filename", None) is not None:
        return True
    return isinstance(error, OSError) and error.errno in _SHORTAGES
