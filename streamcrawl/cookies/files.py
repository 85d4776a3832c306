"""Cookies in files: Netscape's cookies.txt, which curl, wget and yt-dlp have too, and the JSON of browsers.

JSON is written as Playwright's `storage_state` has it, and read as Playwright, Selenium, Puppeteer and the usual
extensions write it. Strings that are no UTF-8 keep their bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import mkstemp
from typing import Any, cast

from streamcrawl.cookies.cookie import Cookie
from streamcrawl.cookies.own import cookie_of
from streamcrawl.errors import StreamcrawlError

_FIELDS = ("domain", "subdomains", "path", "secure", "expires", "name", "value")
_NO_FIELD = re.compile(r"[\t\r\n]")
"""What ends a field or a line of Netscape's format: others, such as Python's own reader, refuse the whole file."""
_HTTP_ONLY = "#HttpOnly_"
_HEAD = "# Netscape HTTP Cookie File\n"
_BAD_SHOWN = 5
_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None"}


class CookieFileError(StreamcrawlError):
    """A file of cookies that cannot be read or written."""


def read_cookies(path: str | os.PathLike[str]) -> list[Cookie]:
    """The cookies in a file, Netscape's format or JSON, in its order, expired ones included.

    Of a JSON file that has several jars: those of the jar that has no name.

    Raises: CookieFileError if it cannot be read; it names each bad line, and no values.
    """
    return read_jars(path).get(None, [])


def read_jars(path: str | os.PathLike[str]) -> dict[str | None, list[Cookie]]:
    """The cookies in a file by the name of their jar; see `read_cookies`."""
    try:
        text = Path(path).read_text("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise CookieFileError(f"{path}: {error.strerror or error}") from error
    bad: list[str] = []
    jars = (_from_json if text.lstrip()[:1] in ("[", "{") else _from_netscape)(text, bad.append)
    if bad:
        more = f"; and {len(bad) - _BAD_SHOWN} more" if len(bad) > _BAD_SHOWN else ""
        raise CookieFileError(f"{path}: {'; '.join(bad[:_BAD_SHOWN])}{more}")
    return jars


def write_cookies(path: str | os.PathLike[str], cookies: Iterable[Cookie], *, now: float) -> None:
    """Put cookies into a file, as JSON if its name ends in ".json", else in Netscape's format; all of it or nothing.

    Left out are those that have expired, and of Netscape's format those with a tab in name, value or path and, of each
    cookie, `SameSite`. Nobody else on the machine may read the file.

    Args:
        path: Replaced if it is there.
        cookies: A CookieJar, or any Cookies.
        now: Seconds since the epoch.

    Raises: CookieFileError if it cannot be written.
    """
    write_jars(path, {None: cookies}, now=now)


def write_jars(path: str | os.PathLike[str], jars: Mapping[str | None, Iterable[Cookie]], *, now: float) -> list[str]:
    """Put cookies into a file by the name of their jar; Netscape's format has one jar only, that without a name.

    Returns: the names of the cookies that the format cannot hold.
    """
    live = {name: [each for each in jar if not each.is_expired(now)] for name, jar in jars.items()}
    left: list[str] = []
    is_json = Path(path).suffix.lower() == ".json"
    text = _as_json(live, left.append) if is_json else _as_netscape(live.get(None, ()), left.append)
    try:
        _replace(Path(path), text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise CookieFileError(f"{path}: {error.strerror or error}") from error
    return left


def _replace(path: Path, data: bytes) -> None:
    handle, name = mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600: whoever reads it can log in
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        written.replace(path)
    except BaseException:
        written.unlink()
        raise


def _text(wire: str) -> str:
    """The reverse of `own.wire`. Raises: UnicodeEncodeError for what never came over a wire."""
    return wire if wire.isascii() else wire.encode("latin-1").decode("utf-8", "surrogateescape")


# ---- Netscape


def _from_netscape(text: str, bad: Callable[[str], None]) -> dict[str | None, list[Cookie]]:
    found: list[Cookie] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        http_only = line.startswith(_HTTP_ONLY)
        if not line.strip() or (line.startswith("#") and not http_only):
            continue
        try:
            found.append(_netscape_cookie(line.removeprefix(_HTTP_ONLY), http_only))
        except ValueError as error:
            bad(f"line {number}: {error}")
    return {None: found}


def _netscape_cookie(line: str, http_only: bool) -> Cookie:
    fields = line.split("\t", len(_FIELDS) - 1)
    if len(fields) == len(_FIELDS) - 1:
        fields.append("")  # some tools cut the tab before an empty value off
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{len(fields)} fields, not {len(_FIELDS)} with tabs between them ({', '.join(_FIELDS)})")
    domain, subdomains, path, secure, expires, name, value = fields
    for what, flag in (("subdomains", subdomains), ("secure", secure)):
        if flag.upper() not in ("TRUE", "FALSE"):
            raise ValueError(f"{what} is {flag!r}, neither TRUE nor FALSE")
    try:
        seconds = float(expires or 0)
    except ValueError:
        raise ValueError(f"expires is {expires!r}, and no number of seconds") from None
    return cookie_of(
        {
            "name": name,
            "value": value,
            "domain": domain,
            "path": path,
            "host_only": subdomains.upper() == "FALSE",
            "secure": secure.upper() == "TRUE",
            "http_only": http_only,
            "expires": seconds,
        }
    )


def _as_netscape(cookies: Iterable[Cookie], left: Callable[[str], None]) -> str:
    lines = [_HEAD]
    for each in cookies:
        try:
            name, value, path = _text(each.name), _text(each.value), _text(each.path)
        except UnicodeEncodeError:
            left(each.name)
            continue
        if _NO_FIELD.search(name + value + path):
            left(each.name)
            continue
        dot, flag = ("", "FALSE") if each.host_only else (".", "TRUE")
        secure = "TRUE" if each.secure else "FALSE"
        expires = 0 if each.expires is None else max(1, int(each.expires))
        head = _HTTP_ONLY if each.http_only else ""
        lines.append(f"{head}{dot}{each.domain}\t{flag}\t{path}\t{secure}\t{expires}\t{name}\t{value}\n")
    return "".join(lines)


# ---- JSON


def _from_json(text: str, bad: Callable[[str], None]) -> dict[str | None, list[Cookie]]:
    try:
        data: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        bad("its JSON is nested too deeply" if isinstance(error, RecursionError) else f"no JSON: {error}")
        return {}
    if isinstance(data, dict):
        data = cast("dict[str, object]", data).get("cookies")
    if not isinstance(data, list):
        bad('neither a list of cookies nor an object with a list "cookies"')
        return {}
    jars: dict[str | None, list[Cookie]] = {}
    for number, each in enumerate(cast("list[object]", data), 1):
        try:
            if not isinstance(each, dict):
                raise ValueError(f"{type(each).__name__}, and no object")
            fields = cast("dict[str, Any]", each)
            jar = fields.get("jar")
            jars.setdefault(None if jar is None else str(jar), []).append(cookie_of(fields))
        except ValueError as error:
            bad(f"cookie {number}: {error}")
    return jars


def _as_json(jars: Mapping[str | None, Iterable[Cookie]], left: Callable[[str], None]) -> str:
    rows: list[dict[str, Any]] = []
    for jar, cookies in jars.items():
        for each in cookies:
            try:
                row: dict[str, Any] = {"name": _text(each.name), "value": _text(each.value)}
                row |= {"domain": each.domain if each.host_only else f".{each.domain}", "path": _text(each.path)}
            except UnicodeEncodeError:
                left(each.name)
                continue
            row |= {"expires": -1 if each.expires is None else each.expires}
            row |= {"httpOnly": each.http_only, "secure": each.secure}
            if site := _SAME_SITE.get(each.same_site.lower()):
                row["sameSite"] = site
            if jar is not None:
                row["jar"] = jar
            rows.append(row)
    return json.dumps({"cookies": rows, "origins": []}, indent=1) + "\n"
