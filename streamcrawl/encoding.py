"""Which characters the bytes of a page are."""

from __future__ import annotations

from w3lib.encoding import html_to_unicode, resolve_encoding


def decode(body: bytes, content_type: str | None, explicit: str | None = None) -> tuple[str, str]:
    """(encoding, text): explicit, byte-order mark, Content-Type, declaration in the page, detection.

    Never fails: what cannot be decoded becomes U+FFFD.
    Source: WHATWG Encoding Standard (labels), HTML Standard "determining the character encoding".
    """
    if explicit is not None:
        name = resolve_encoding(explicit)
        if name is not None:
            try:
                return name, body.decode(name, "replace")
            except (LookupError, UnicodeError):
                pass  # a codec of Python's that is none of characters, such as "hex"
    try:
        return html_to_unicode(content_type, body, default_encoding="utf-8", auto_detect_fun=_detect)
    except (LookupError, UnicodeError):  # the page names such a codec: it says nothing
        name = _detect(body) or "utf-8"
        return name, body.decode(name, "replace")


def _detect(body: bytes) -> str | None:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes  # here, because it is slow to import and rarely needed

        best = from_bytes(body[:16384]).best()
        return resolve_encoding(best.encoding) if best is not None else "cp1252"
    return "utf-8"
