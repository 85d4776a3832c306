"""What a feed format is: how an item becomes the bytes of one whole record.

A `FeedFormat` describes a format; the `Format` that it makes belongs to one feed in one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, cast

from streamcrawl.core import Item
from streamcrawl.feeds.charsets import known
from streamcrawl.feeds.tails import Tail
from streamcrawl.feeds.values import Fields
from streamcrawl.mistakes import shortened


class Format(Protocol):
    """How the items of one feed are written in one run, one record after the other."""

    @property
    def state(self) -> Any:
        """What `make` needs of it when a job goes on: plain data; None: nothing."""
        ...

    def record(self, item: Item) -> bytes:
        """The bytes to append. Raises: ItemRefused naming the field that cannot be written."""
        ...

    def end(self) -> bytes:
        """The bytes after the last record."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a feed is to be written.

    Args:
        fields: Which fields, and under which names; None: all.
        encoding: Of text.
        indent: Spaces by which what is nested is indented; 0: an item a line.
        options: What else the format takes.
    """

    fields: Fields | None = None
    encoding: str = "utf-8"
    indent: int = 0
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


Notice: TypeAlias = Callable[[str], None]
Make: TypeAlias = Callable[[Settings, Any, Notice], Format]


@dataclass(frozen=True, slots=True)
class FeedFormat:
    """A format's description.

    Args:
        name: What `feed(format=…)` calls it.
        extensions: Of the files that it is taken for.
        make: (settings, state, notice) -> the Format of one feed. `state` is what its Format had when the job was
            stopped, None at the beginning; `notice` tells something, once, to who runs the crawl.
        ended: Whether what it writes is valid only with its end.
        tail: Finds the end of the last whole record of a file that is to be appended to, and the state to go on with;
            None: it cannot be appended to.
        convert: Makes the file that readers want of the one that was written: (written, wanted, settings). None: it
            is the one. It may take its time, and is called in a thread.
        check: Raises ValueError for settings that cannot be right.

    Raises: TypeError for an argument of another kind, when built.
    """

    name: str
    extensions: tuple[str, ...]
    make: Make
    ended: bool = False
    tail: Callable[[BinaryIO, Settings], tuple[Tail, Any]] | None = None
    convert: Callable[[Path, Path, Settings], None] | None = None
    check: Callable[[Settings], None] | None = None

    def __post_init__(self) -> None:
        # By hand: ours are built when the package is imported, and annotations are dear to read.
        if isinstance(self.extensions, list):
            object.__setattr__(self, "extensions", tuple(cast("list[str]", self.extensions)))
        name, extensions = cast("tuple[object, object]", (self.name, self.extensions))
        texts = cast("tuple[object, ...]", extensions) if isinstance(extensions, tuple) else (None,)
        if not all(isinstance(each, str) for each in (name, *texts)):
            what = f"FeedFormat(name={shortened(name, 80)}, extensions={shortened(self.extensions, 80)})"
            raise TypeError(f"{what}: text, and a tuple of text such as ('.txt',)")
        for function in ("make", "tail", "convert", "check"):
            value = getattr(self, function)
            if not callable(value) and (value is not None or function == "make"):
                raise TypeError(f"FeedFormat({function}={shortened(value, 80)}): a function is needed")


def checked(format: FeedFormat, settings: Settings) -> Settings:
    """The settings, if the format can be written so. Raises: ValueError."""
    known(settings.encoding)
    if isinstance(settings.indent, bool) or settings.indent < 0:
        raise ValueError(f"indent={settings.indent!r}: a number of spaces, 0 or more")
    if format.check is not None:
        format.check(settings)
    return settings


def allow(settings: Settings, format: str, *options: str, indent: bool = False, encoding: bool = False) -> None:
    """See that nothing is asked for that a format does not have. Raises: ValueError."""
    for name in settings.options:
        if name not in options:
            takes = f"it takes {', '.join(options)}" if options else "it takes none"
            raise ValueError(f"format_options={dict(settings.options)!r}: {format} has no {name!r}; {takes}")
    if settings.indent and not indent:
        raise ValueError(f"indent={settings.indent!r}: {format} is not indented")
    if known(settings.encoding) != "utf-8" and not encoding:
        raise ValueError(f"encoding={settings.encoding!r}: {format} has no encoding to choose")
