"""Requests from curl commands, and curl commands from requests."""

from __future__ import annotations

import re
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias
from urllib.parse import quote_plus

from streamcrawl.core import Request
from streamcrawl.headers import Headers
from streamcrawl.requests.encoded import File, body
from streamcrawl.requests.shell_words import as_bytes, as_text, quoted, words

FORM = "application/x-www-form-urlencoded"


class Command:
    """What the options of a curl command say so far."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.method: str | None = None
        self.head = False
        self.get = False
        self.data: list[bytes] | None = None
        self.media = FORM
        self.form: list[tuple[str, str]] = []
        self.files: dict[str, File] = {}
        self.headers: list[tuple[str, str]] = []
        self.without: set[str] = set()
        self.defaults: list[tuple[str, str]] = []
        self.cookies: dict[str, str] = {}
        self.proxy: str | None = None
        self.proxy_user: str | None = None
        self.options: dict[str, Any] = {}
        self.ignored: list[str] = []

    def add_data(self, data: bytes) -> None:
        self.data = [*(self.data or ()), data]


_Set: TypeAlias = Callable[[Command, str], None]


def _header(command: Command, value: str) -> None:
    _no_file("-H", value)
    name, colon, content = value.partition(":")
    name, content = name.strip(), content.strip()
    if not colon and name.endswith(";"):
        command.headers.append((name[:-1], ""))
    elif not colon:
        raise ValueError(f"-H {value!r}: no name and value")
    elif not content:
        command.without.add(name.lower())
    elif name.lower() == "cookie":
        _cookie(command, content)
    else:
        command.headers.append((name, content))


def _cookie(command: Command, value: str) -> None:
    if value and "=" not in value:
        raise ValueError(f"-b {value!r} reads a file: give the cookies themselves, name=value")
    for pair in value.split(";"):
        name, _, content = pair.strip().partition("=")
        if name:
            command.cookies[name] = content


def _data(command: Command, value: str) -> None:
    _no_file("-d", value)
    command.add_data(as_bytes(value))


def _raw(command: Command, value: str) -> None:
    command.add_data(as_bytes(value))


def _urlencoded(command: Command, value: str) -> None:
    name, equals, content = value.partition("=")
    if not equals:
        _no_file("--data-urlencode", value[value.find("@") :] if "@" in value else "")
        name, content = "", value
    encoded = quote_plus(as_bytes(content)).replace("+", "%20")
    command.add_data(as_bytes(f"{name}={encoded}" if name else encoded))


def _json(command: Command, value: str) -> None:
    _no_file("--json", value)
    command.media = "application/json"
    command.defaults.append(("Accept", "application/json"))
    command.add_data((b"" if command.data is None else command.data.pop()) + as_bytes(value))


def _form(command: Command, value: str) -> None:
    name, equals, content = value.partition("=")
    if not equals:
        raise ValueError(f"-F {value!r}: no name and value")
    if content.startswith(("@", "<")):
        raise ValueError(f"-F {value!r} reads a file; formdata_request(…, files={{{name!r}: …}}) sends one")
    command.form.append((name, _form_value(value, content)))


def _form_value(option: str, content: str) -> str:
    """What curl sends of the value: without the quotes around it, and what follows a semicolon."""
    quoted_part = re.match(r'"((?:[^"\\]|\\.)*)"\s*(?:;|$)', content, re.DOTALL)
    if quoted_part is None:
        found, semicolon, parameters = content.partition(";")
    else:
        found = re.sub(r'\\(["\\])', r"\1", quoted_part[1])
        semicolon, parameters = ";", content[quoted_part.end() :]
    if semicolon and parameters.strip():
        raise ValueError(f"-F {option!r} says more of the part than its value; --form-string sends it as it stands")
    return found


def _form_string(command: Command, value: str) -> None:
    name, _, content = value.partition("=")
    command.form.append((name, content))


def _user(command: Command, value: str) -> None:
    command.defaults.append(("Authorization", f"Basic {b64encode(as_bytes(value)).decode()}"))


def _bearer(command: Command, value: str) -> None:
    command.defaults.append(("Authorization", f"Bearer {value}"))


def _no_file(option: str, value: str) -> None:
    if value.startswith("@"):
        raise ValueError(f"{option} {value!r} reads a file: give what is in it")


def _field(name: str, convert: Callable[[str], Any]) -> _Set:
    def put(command: Command, value: str) -> None:
        command.options[name] = convert(value)

    return put


def _referer(command: Command, value: str) -> None:
    if value.removesuffix(";auto"):
        command.defaults.append(("Referer", value.removesuffix(";auto")))


def _agent(command: Command, value: str) -> None:
    command.defaults.append(("User-Agent", value))


def _range(command: Command, value: str) -> None:
    command.defaults.append(("Range", f"bytes={value}"))


def _attribute(name: str) -> _Set:
    return lambda command, value: setattr(command, name, value)


VALUED: dict[str, _Set] = {
    "request": _attribute("method"),
    "header": _header,
    "data": _data,
    "data-ascii": _data,
    "data-binary": _data,
    "data-raw": _raw,
    "data-urlencode": _urlencoded,
    "json": _json,
    "form": _form,
    "form-string": _form_string,
    "user": _user,
    "oauth2-bearer": _bearer,
    "cookie": _cookie,
    "user-agent": _agent,
    "referer": _referer,
    "range": _range,
    "url": lambda command, value: command.urls.append(value),
    "proxy": _attribute("proxy"),
    "proxy-user": _attribute("proxy_user"),
    "max-time": _field("timeout", float),
    "max-filesize": _field("max_size", int),
    "max-redirs": _field("max_redirects", lambda value: int(value) if int(value) >= 0 else None),
    "retry": _field("max_retries", int),
}
FLAGS: dict[str, Callable[[Command], None]] = {
    "get": lambda command: setattr(command, "get", True),
    "head": lambda command: setattr(command, "head", True),
}
SHORT = {
    "X": "request", "H": "header", "d": "data", "F": "form", "u": "user", "b": "cookie", "A": "user-agent",
    "e": "referer", "r": "range", "x": "proxy", "U": "proxy-user", "m": "max-time", "G": "get", "I": "head",
    "s": "silent", "S": "show-error", "v": "verbose", "i": "include", "f": "fail", "L": "location", "k": "insecure",
    "o": "output", "O": "remote-name", "w": "write-out", "D": "dump-header", "c": "cookie-jar",
    "J": "remote-header-name", "N": "no-buffer", "g": "globoff", "4": "ipv4", "6": "ipv6", "0": "http1.0", "2": "sslv2",
    "#": "progress-bar", "Z": "parallel", "q": "disable",
}  # fmt: skip
MEANINGLESS = frozenset(
    {"silent", "no-silent", "show-error", "verbose", "include", "fail", "fail-with-body", "location", "compressed",
     "remote-name", "remote-header-name", "no-buffer", "globoff", "ipv4", "ipv6", "http1.0", "http1.1", "http2",
     "http2-prior-knowledge", "http3", "progress-bar", "no-progress-meter", "path-as-is", "parallel", "disable",
     "ssl-reqd", "tlsv1.2", "tlsv1.3", "no-keepalive", "tr-encoding", "create-dirs"}
)  # fmt: skip
"""Options that say nothing about the request, or what is done anyway."""
MEANINGLESS_VALUED = frozenset(
    {"output", "write-out", "dump-header", "cookie-jar", "connect-timeout", "retry-delay", "retry-max-time", "stderr",
     "trace", "trace-ascii", "output-dir", "limit-rate", "speed-limit", "speed-time", "keepalive-time"}
)  # fmt: skip
UNHEARD = frozenset({"insecure", "location-trusted", "proxy-insecure"})
"""Options that are told to have no effect."""


def request_from_curl(command: str, *, ignore_unknown: bool = False, **options: Any) -> Request:
    """The Request that a curl command sends, such as browsers give by "Copy as cURL".

    Cookies become `Request.cookies`, also those of a Cookie field, so that they go to their site alone. Files are never
    read. `-k` has no effect, and that is told as a warning.

    Args:
        command: It begins with "curl"; as for bash, `$'…'` and lines that end with a backslash included.
        ignore_unknown: Pass over options that are not known, with a warning.
        options: As `Request` takes them: they go before what the command says.

    Raises: ValueError for another command, an option that is not known, a file that is to be read.
    Source: curl(1).
    """
    first, *rest = words(command) or [""]
    if first != "curl":
        raise ValueError(f"{command[:40]!r} is no curl command")
    read = Command()
    _read(rest, read, ignore_unknown)
    if "^" in read.urls:
        raise ValueError("the command is one for cmd.exe: copy it for bash")
    if len(read.urls) != 1:
        raise ValueError(f"the command has {len(read.urls)} URLs, and a Request has one")
    for option in read.ignored:
        warnings.warn(f"request_from_curl() passes over {option}", stacklevel=2)
    return Request(**{**_fields(read), **options})


def _read(rest: list[str], command: Command, ignore_unknown: bool) -> None:
    arguments = iter(rest)
    for word in arguments:
        if word.startswith("--") and len(word) > 2:
            _option(word[2:], word, None, arguments, command, ignore_unknown)
        elif word.startswith("-") and len(word) > 1 and word != "--":
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if _option(SHORT.get(letter, ""), f"-{letter}", letters, arguments, command, ignore_unknown):
                    break
        elif word != "--":
            command.urls.append(word)


def _option(
    name: str, shown: str, attached: str | None, arguments: Iterable[str], command: Command, ignore_unknown: bool
) -> bool:
    """Take one option; give whether what is attached to it was its value."""
    if name in FLAGS:
        FLAGS[name](command)
    elif name in VALUED or name in MEANINGLESS_VALUED:
        value = attached or next(iter(arguments), None)
        if value is None:
            raise ValueError(f"{shown} needs a value")
        if name in VALUED:
            _put(VALUED[name], shown, command, value)
        return True
    elif name in UNHEARD:
        command.ignored.append(shown)
    elif name not in MEANINGLESS:
        if not ignore_unknown:
            raise ValueError(f"{shown} is no option that request_from_curl() knows; ignore_unknown=True passes over it")
        command.ignored.append(shown)
    return False


def _put(put: _Set, shown: str, command: Command, value: str) -> None:
    try:
        put(command, value)
    except ValueError as error:
        raise error if str(error).startswith("-") else ValueError(f"{shown} {value!r}: {error}") from None


def _fields(command: Command) -> dict[str, Any]:
    url = command.urls[0]
    url = url if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url) and not re.match(r"[\w.-]+:\d", url) else f"http://{url}"
    defaults = list(command.defaults)
    content = b""
    if command.form:
        media, content = body(command.form, command.files, "multipart/form-data", "utf-8")
        defaults.append(("Content-Type", media))
    elif command.data is not None:
        content = b"&".join(command.data)
        if command.get or command.head:
            bare, mark, fragment = url.partition("#")
            url = f"{bare}{'&' if '?' in bare else '?'}{as_text(content)}{mark}{fragment}"
            content = b""
        else:
            defaults.append(("Content-Type", command.media))
    has_body = bool(command.form) or (command.data is not None and not command.get and not command.head)
    method = command.method or ("HEAD" if command.head else "POST" if has_body else "GET")
    kept = [pair for pair in defaults if pair[0].lower() not in command.without]
    fields: dict[str, Any] = {"url": url, "method": method, "body": content, **command.options}
    fields["headers"] = Headers(command.headers).defaults(dict(kept))
    if command.cookies:
        fields["cookies"] = command.cookies
    if command.proxy is not None:
        fields["proxy"] = _proxy(command.proxy, command.proxy_user)
    return fields


def _proxy(url: str, user: str | None) -> str:
    scheme, _, rest = url.rpartition("://")
    return f"{scheme or 'http'}://{f'{user}@' if user and '@' not in rest else ''}{rest}"


def to_curl(request: Request) -> str:
    """The curl command that sends the request, without what layers would add.

    `request_from_curl` makes the same request of it: URL, method, header fields, body, cookies, proxy and timeout.

    Raises: ValueError for a NUL byte in it, which no command can say.
    """
    parts = ["curl"]
    if request.method == "HEAD" and not request.body:
        parts.append("--head")
    elif request.method != ("POST" if request.body else "GET"):
        parts += ["-X", quoted(request.method.encode())]
    parts.append(quoted(request.url.encode("utf-8", "surrogateescape")))
    for name, value in request.headers.pairs():
        parts += ["-H", quoted(f"{name}: {value}".encode("utf-8", "surrogateescape") if value else f"{name};".encode())]
    if request.body and "content-type" not in request.headers:
        parts += ["-H", quoted(b"Content-Type:")]  # else curl would say that it is a form
    cookies = _pairs(request.cookies)
    if cookies:
        parts += ["-b", quoted("; ".join(f"{name}={value}" for name, value in cookies).encode())]
    if request.proxy:
        parts += ["-x", quoted(request.proxy.encode())]
    if request.timeout is not None:
        parts += ["-m", repr(request.timeout)]
    if request.body:
        parts += ["--data-raw", quoted(request.body)]
    return " ".join(parts)


def _pairs(cookies: Any) -> list[tuple[str, str]]:
    if hasattr(cookies, "items"):
        return [(str(name), str(value)) for name, value in cookies.items()]
    return [(str(cookie["name"]), str(cookie["value"])) for cookie in cookies]
