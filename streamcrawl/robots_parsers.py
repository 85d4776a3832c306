"""Parsers of robots.txt, each behind the same protocol: none of them raises, whatever the file says.

They differ in what they take a file to mean; docs/operators/robots_txt.md has the figures.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.robotparser import RobotFileParser

from streamcrawl.errors import FlowError
from streamcrawl.robots import RequestRate, RobotsParser, absolute, beginning, target_of
from streamcrawl.robots_agents import Groups, product_of

if TYPE_CHECKING:
    from protego import Protego

# -- what all of them are given --------------------------------------------------------------------


_NO_LINE_ENDS = {ord(mark): "".join(f"%{byte:02X}" for byte in mark.encode()) for mark in "\x85\u2028\u2029"}
"""Ends of lines for Python, but not for RFC 9309 §2.2, where they may stand in a path."""


def text_of(body: bytes) -> str:
    """The characters of a robots.txt, of which the first 500 KiB count.

    Source: RFC 9309 §2.3 (UTF-8). UTF-16 is known by its mark; a line that is not UTF-8 is taken for Latin-1.
    """
    body = beginning(body)
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").translate(_NO_LINE_ENDS)
    body = body.removeprefix(codecs.BOM_UTF8)
    if body.isascii():
        return body.decode("ascii")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        # Leaving out what is wrong would shorten a rule, and so forbid more than it says.
        text = "\n".join(map(_line, body.splitlines()))
    return text.translate(_NO_LINE_ENDS)


def _line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _positive(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 < seconds < math.inf else None


def _readable(lines: Iterable[str], read: Callable[[str], object]) -> list[str]:
    """The lines that the parser can read each by itself."""
    kept: list[str] = []
    for line in lines:
        try:
            read("User-agent: *\n" + line)
        except ValueError:
            continue
        kept.append(line)
    return kept


# -- protego ---------------------------------------------------------------------------------------


class ProtegoRules:
    """Rules as Protego reads them: the longest match wins, `*` and `$` are understood."""

    __slots__ = ("_groups", "_parsed")

    def __init__(self, parsed: Protego, groups: Groups) -> None:
        self._parsed = parsed
        self._groups = groups

    @property
    def sitemaps(self) -> tuple[str, ...]:
        return tuple(self._parsed.sitemaps)

    def allowed(self, url: str, agent: str) -> bool:
        return self._parsed.can_fetch(url, self._groups.of(agent))

    def crawl_delay(self, agent: str) -> float | None:
        return _positive(self._parsed.crawl_delay(self._groups.of(agent)))

    def request_rate(self, agent: str) -> RequestRate | None:
        rate = self._parsed.request_rate(self._groups.of(agent))
        return None if rate is None or rate.requests < 1 else RequestRate(rate.requests, float(rate.seconds))

    def __repr__(self) -> str:
        return f"<ProtegoRules, {len(self.sitemaps)} sitemaps>"


def protego_parser(body: bytes, url: str) -> ProtegoRules:
    """The rules in a robots.txt, by Protego. Source: RFC 9309 §2.2 (grammar, matching)."""
    from protego import Protego

    text = text_of(body)
    return ProtegoRules(Protego.parse(text), Groups(text))


def sitemaps_in(body: bytes, url: str) -> tuple[str, ...]:
    """The sitemaps that a robots.txt names: absolute URLs, each once.

    Args:
        body: The file.
        url: Where it was found.
    """
    return absolute(protego_parser(body, url).sitemaps, url)


# -- the standard library's ------------------------------------------------------------------------


class StdlibRules:
    """Rules as `urllib.robotparser` reads them: the first match wins, a `*` stands for itself."""

    __slots__ = ("_parsed",)

    def __init__(self, parsed: RobotFileParser) -> None:
        self._parsed = parsed

    @property
    def sitemaps(self) -> tuple[str, ...]:
        return tuple(self._parsed.site_maps() or ())

    def allowed(self, url: str, agent: str) -> bool:
        # Without its authority, whose escapes it would undo and stumble over.
        return self._parsed.can_fetch(product_of(agent), "http://host" + target_of(url))

    def crawl_delay(self, agent: str) -> float | None:
        delay = self._parsed.crawl_delay(product_of(agent))
        return None if delay is None else _positive(float(delay))

    def request_rate(self, agent: str) -> RequestRate | None:
        rate = self._parsed.request_rate(product_of(agent))
        return None if rate is None or rate.requests < 1 else RequestRate(rate.requests, float(rate.seconds))

    def __repr__(self) -> str:
        return f"<StdlibRules, {len(self.sitemaps)} sitemaps>"


def stdlib_parser(body: bytes, url: str) -> StdlibRules:
    """The rules in a robots.txt, by `urllib.robotparser`; a line that makes it raise is left out."""

    def read(text: str) -> RobotFileParser:
        parser = RobotFileParser()
        parser.parse(_NUMBER.sub(_whole, text).splitlines())
        return parser

    text = text_of(body)
    try:
        return StdlibRules(read(text))
    except ValueError:  # such as that of `Disallow: http://[`
        return StdlibRules(read("\n".join(_readable(text.splitlines(), read))))


_NUMBER = re.compile(r"(?im)^([ \t]*(?:crawl-delay|request-rate)[ \t]*:)([^\n\r#]*)")


def _whole(line: re.Match[str]) -> str:
    """A number as int() takes it: no more than 15 digits, and none that only Unicode knows."""
    value = line[2]
    return line[0] if value.isascii() and all(len(part) <= 15 for part in re.findall(r"\d+", value)) else line[1]


# -- robotexclusionrulesparser ---------------------------------------------------------------------


class RerpRules:
    """Rules as robotexclusionrulesparser reads them: the first match wins, `*` and `$` are understood."""

    __slots__ = ("_parsed",)

    def __init__(self, parsed: Any) -> None:
        self._parsed = parsed

    @property
    def sitemaps(self) -> tuple[str, ...]:
        return tuple(self._parsed.sitemaps)

    def allowed(self, url: str, agent: str) -> bool:
        return bool(self._parsed.is_allowed(product_of(agent), "http://host" + target_of(url)))

    def crawl_delay(self, agent: str) -> float | None:
        return _positive(self._parsed.get_crawl_delay(product_of(agent)))

    def request_rate(self, agent: str) -> RequestRate | None:
        return None

    def __repr__(self) -> str:
        return f"<RerpRules, {len(self.sitemaps)} sitemaps>"


def rerp_parser(body: bytes, url: str) -> RerpRules:
    """The rules in a robots.txt, by robotexclusionrulesparser."""
    parser: Any = import_module("robotexclusionrulesparser").RobotExclusionRulesParser()  # it has no types
    parser.parse(text_of(body))
    return RerpRules(parser)


# -- reppy -----------------------------------------------------------------------------------------


class ReppyRules:
    """Rules as reppy reads them: the longest match wins, `*` and `$` are understood."""

    __slots__ = ("_parsed",)

    def __init__(self, parsed: Any) -> None:
        self._parsed = parsed

    @property
    def sitemaps(self) -> tuple[str, ...]:
        return tuple(self._parsed.sitemaps)

    def allowed(self, url: str, agent: str) -> bool:
        # Always with the same host: a URL that reppy cannot read ends the whole process.
        return bool(self._parsed.allowed(_bytes("http://host" + target_of(url)), _bytes(product_of(agent))))

    def crawl_delay(self, agent: str) -> float | None:
        return _positive(self._parsed.agent(_bytes(product_of(agent))).delay)

    def request_rate(self, agent: str) -> RequestRate | None:
        return None

    def __repr__(self) -> str:
        return f"<ReppyRules, {len(self.sitemaps)} sitemaps>"


def reppy_parser(body: bytes, url: str) -> ReppyRules:
    """The rules in a robots.txt, by reppy; a line that makes it raise is left out."""
    robots: Any = import_module("reppy.robots").Robots  # it has no types

    def read(text: str) -> Any:
        return robots.parse(b"http://host/robots.txt", _bytes(text))

    # It knows the end of a line by "\n" alone, and writes to stderr about a delay that is none.
    text = "\n".join(_DELAY.sub("", line) for line in text_of(body).splitlines())
    try:
        return ReppyRules(read(text))
    except ValueError:  # such as that of `Disallow: //shop:x`
        return ReppyRules(read("\n".join(_readable(text.split("\n"), read))))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


_DELAY = re.compile(r"(?i)^\s*crawl-delay\s*:(?!\s*\d{1,9}(?:\.\d{0,9})?\s*(?:#|$)).*")


# -- by name ---------------------------------------------------------------------------------------


PARSERS: dict[str, RobotsParser] = {
    "protego": protego_parser,
    "stdlib": stdlib_parser,
    "robotexclusionrulesparser": rerp_parser,
    "reppy": reppy_parser,
}
"""The parsers that go by a name."""

_MODULES = {"robotexclusionrulesparser": "robotexclusionrulesparser", "reppy": "reppy.robots"}
"""What those parsers stand on that do not come with streamcrawl."""

_HOW = {
    "robotexclusionrulesparser": "pip install 'streamcrawl[robots-rerp]'",
    "reppy": "pip install 'streamcrawl[robots-reppy]' (for Python 3.9 or newer it does not build by itself, see "
    "docs/operators/robots_txt.md)",
}


def parser_named(name: str) -> RobotsParser:
    """The parser that goes by this name.

    Raises: ValueError for a name that none has, FlowError if its package cannot be imported.
    """
    parser = PARSERS.get(name)
    if parser is None:
        raise ValueError(f"no parser of robots.txt is called {name!r}; the names are {', '.join(PARSERS)}")
    if name in _MODULES:
        try:
            import_module(_MODULES[name])
        except ImportError as error:
            raise FlowError(
                f"the robots.txt parser {name!r} needs the package {name}: {_HOW[name]}: {error}"
            ) from error
    return parser


def installed() -> dict[str, RobotsParser]:
    """Those parsers that can be used here."""
    found: dict[str, RobotsParser] = {}
    for name in PARSERS:
        try:
            found[name] = parser_named(name)
        except FlowError:
            continue
    return found
