"""A shell command to its words, and words to a command: as much of the shell as pasted commands have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

_PART = re.compile(
    r"""
      (?P<space>(?:\s|\\\r?\n)+)
    | '(?P<single>[^']*)'
    | \$'(?P<ansi>(?:[^'\\]|\\.)*)'
    | \$?"(?P<double>(?:[^"\\]|\\.)*)"
    | \\(?P<escaped>.)
    | (?P<plain>[^\s'"\\$]+|\$)
    """,
    re.VERBOSE | re.DOTALL,
)
_ANSI = re.compile(
    r"\\(?:x(?P<hex>[0-9a-fA-F]{1,2})|u(?P<u>[0-9a-fA-F]{1,4})|U(?P<U>[0-9a-fA-F]{1,8})|(?P<oct>[0-7]{1,3})"
    r"|c(?P<control>.)|(?P<one>.))",
    re.DOTALL,
)
_ONE = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def words(command: str) -> list[str]:
    """The words of a command for bash; bytes that are no UTF-8 are surrogates, as in `os.fsdecode`.

    Raises: ValueError for a quote that has no end.
    Source: POSIX.1-2024, Shell Command Language §2.2 (quoting, `$'…'` included).
    """
    found: list[str] = []
    word: list[str] | None = None
    for kind, text in _parts(command):
        if kind == "space":
            if word is not None:
                found.append("".join(word))
            word = None
        else:
            word = [*(word or ()), text]
    return found if word is None else [*found, "".join(word)]


def _parts(command: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(command):
        match = _PART.match(command, at)
        if match is None:
            raise ValueError(f"a quote that has no end, or a lone backslash: {command[at : at + 40]!r}")
        kind = str(match.lastgroup)
        text = match[kind]
        if kind == "ansi":
            text = _unescaped(text)
        elif kind == "double":
            text = re.sub(r"\\(\r?\n|[$`\"\\])", lambda each: "" if each[1].endswith("\n") else each[1], text)
        yield kind, text
        at = match.end()


def _unescaped(text: str) -> str:
    def byte_or_character(match: re.Match[str]) -> str:
        kind = str(match.lastgroup)
        value = match[kind]
        if kind in ("hex", "oct"):
            return chr(0xDC00 + code) if (code := int(value, 16 if kind == "hex" else 8) & 0xFF) > 0x7F else chr(code)
        if kind in ("u", "U"):
            return chr(min(int(value, 16), 0x10FFFF))
        return chr(ord(value.upper()) ^ 64) if kind == "control" else _ONE.get(value, value)

    return as_text(as_bytes(_ANSI.sub(byte_or_character, text)))


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def as_bytes(text: str) -> bytes:
    """The bytes that a program gets for an argument. Pairs of surrogates, as browsers write them, are characters."""
    if _PAIR.search(text) is not None:
        text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return _NO_BYTE.sub("\N{REPLACEMENT CHARACTER}", text).encode("utf-8", "surrogateescape")


def as_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def quoted(data: bytes) -> str:
    """One word of a command that says these bytes.

    Raises: ValueError for a NUL, which no argument can have.
    """
    if b"\0" in data:
        raise ValueError("it has a NUL byte, which no argument of a command can have")
    text = as_text(data)
    if all(each.isprintable() or each == "\n" for each in text):
        return shlex.quote(text)
    return "$'" + "".join(_escaped(byte) for byte in data) + "'"


def _escaped(byte: int) -> str:
    if byte in b"'\\":
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
