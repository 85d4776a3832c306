"""XML: an element for each item, and one for each of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from streamcrawl.core import Item
from streamcrawl.feeds.charsets import known, writer
from streamcrawl.feeds.format import FeedFormat, Notice, Settings, allow
from streamcrawl.feeds.values import blame, builtins, fields_of, named

_START = (
    # Letters that names had from the first edition on: not every parser knows those of the fifth. Without the colon: it
    # stands between a prefix and a name, and there are no prefixes here.
    "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u0131\u0134-\u013e\u0141-\u0148\u014a-\u017e\u0388-\u038a\u038e-\u03a1\u03a3-\u03ce"
    "\u0401-\u040c\u040e-\u044f\u0451-\u045c\u05d0-\u05ea\u0621-\u063a\u0641-\u064a\u0e01-\u0e2e\u3041-\u3094"
    "\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
)
_MORE = _START + "\\-.0-9\xb7"
_NAME = re.compile(f"[{_START}][{_MORE}]*")
_NOT_IN_NAME = re.compile(f"[^{_MORE}]|_(?=x[0-9A-Fa-f]{{4}}_)")
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Xml:
    """One XML document.

    Args:
        root_element: The document's element.
        item_element: That of each item.
        begun: Whether records were written before, by a run that is resumed.

    Values are as in JSON; each of a list is a `value` element, and what is nested becomes elements in elements. What is
    no name in XML is escaped (`price (€)` becomes `price_x0020__x0028__x20AC__x0029_`); characters that XML does not
    have are replaced by U+FFFD.
    Source: https://www.w3.org/TR/xml/, ISO 9075-14 §9.1 (names).
    """

    __slots__ = ("_fields", "_head", "_indent", "_item", "_names", "_root", "_text", "begun")

    def __init__(
        self,
        fields: Mapping[str, str] | Iterable[str] | None = None,
        *,
        begun: bool = False,
        encoding: str = "utf-8",
        indent: int = 0,
        root_element: str = "items",
        item_element: str = "item",
    ) -> None:
        self._fields = named(fields)
        self.begun = begun
        self._indent = indent
        self._root, self._item = root_element, item_element
        self._text = writer(known(encoding), "xmlcharrefreplace", begun=begun)
        self._head = f'<?xml version="1.0" encoding={quoteattr(_declared(encoding))}?>\n<{root_element}>\n'
        self._names: dict[str, str] = {}

    @property
    def state(self) -> bool | None:
        return self.begun or None

    def record(self, item: Item) -> bytes:
        fields = fields_of(item, self._fields)
        try:
            built = builtins(fields)
            if self._indent:
                text: list[str] = []
                self._element(self._item, built, text, 1)
                line = "".join(text)
            else:
                line = self._item_in_a_line(built)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise blame(fields, builtins) from None
        head = "" if self.begun else self._head
        self.begun = True
        return self._text(head + line)

    def _item_in_a_line(self, fields: dict[str, Any]) -> str:
        """What `_element` makes of it with no indentation."""
        text: list[str] = [f"<{self._item}>"]
        names = self._names
        for key, value in fields.items():
            name = names.get(key) or self._named(key)
            if isinstance(value, (dict, list)):
                self._element(name, value, text, 2)
            else:
                text.append(f"<{name}>{_text(value)}</{name}>")
        text.append(f"</{self._item}>\n")
        return "".join(text)

    def _element(self, name: str, value: Any, text: list[str], depth: int) -> None:
        newline, space = ("\n", " " * self._indent * depth) if self._indent else ("", "")
        if isinstance(value, (dict, list)):
            within: list[tuple[str, Any]] = (
                [(self._named(str(key)), each) for key, each in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # JSON
                if isinstance(value, dict)
                else [("value", each) for each in value]  # pyright: ignore[reportUnknownVariableType] # JSON
            )
            text.append(f"{space}<{name}>{newline}")
            for key, each in within:
                self._element(key, each, text, depth + 1)
            text.append(f"{space}</{name}>{newline}")
        else:
            text.append(f"{space}<{name}>{_text(value)}</{name}>{newline}")

    def _named(self, field: str) -> str:
        """The field's name as that of an element."""
        name = self._names.get(field)
        if name is None:
            name = _NOT_IN_NAME.sub(lambda found: _code(found[0]), field)
            if not _NAME.match(name):
                name = _code(name[:1]) + name[1:] if name else "_"
            if len(self._names) < 10_000:
                self._names[field] = name
        return name

    def end(self) -> bytes:
        head = "" if self.begun else self._head
        self.begun = True
        return self._text(f"{head}</{self._root}>\n")


def _declared(encoding: str) -> str:
    """The encoding's name, as XML has it (IANA's)."""
    name = known(encoding)
    for python, iana in ("utf-8-sig", "utf-8"), ("iso8859-", "iso-8859-"), ("cp125", "windows-125"):
        if name.startswith(python):
            return name.replace(python, iana)
    return name


def _code(character: str) -> str:
    return "".join(f"_x{ord(each):04X}_" for each in character)


def _text(value: Any) -> str:
    if value.__class__ is not str:  # of JSON's others
        if value is None or (isinstance(value, float) and value - value != 0):  # infinities and NaN, as in JSON
            return ""
        return str(value) if not isinstance(value, bool) else "true" if value else "false"
    if value.isprintable():  # so all its characters are XML's: of most texts this is all
        return escape(value) if "&" in value or "<" in value or ">" in value else value
    # A carriage return would be read as a line end.
    return escape(_NO_CHARACTER.sub("\ufffd", value), {"\r": "&#13;"})


def _make(settings: Settings, state: Any, notice: Notice) -> Xml:
    return Xml(
        settings.fields, begun=bool(state), encoding=settings.encoding, indent=settings.indent, **settings.options
    )


def _check(settings: Settings) -> None:
    allow(settings, "XML", "item_element", "root_element", indent=True, encoding=True)
    for option, name in settings.options.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{option}={name!r}: no name of an XML element")


XML = FeedFormat("xml", (".xml",), _make, ended=True, check=_check)
