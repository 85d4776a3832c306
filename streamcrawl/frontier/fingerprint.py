"""What makes two requests the same page."""

from __future__ import annotations

from streamcrawl.core import Request
from streamcrawl.urls import canonical, digest


def fingerprint(request: Request) -> bytes:
    """16 bytes that requests for the same page have in common: of method, canonical URL, body, chosen headers, jar."""
    url = canonical(request.url, keep_fragments=request.keep_fragments)
    if request.method == "GET" and not request.body and not request.fingerprint_headers and request.cookiejar is None:
        return digest(url)
    names = sorted({name.lower() for name in request.fingerprint_headers})
    chosen = [f"{name}:{request.headers.get(name, '')}" for name in names]
    if request.cookiejar is not None:
        chosen.append(f"\x00cookiejar {request.cookiejar}")
    return digest("\n".join((request.method, url, request.body.hex(), *chosen)))
