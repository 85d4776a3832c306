"""A feed's description: where, what, and how."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from streamcrawl.core import OpenSink, Run
from streamcrawl.feeds.choosing import Chosen, Test, Unseen
from streamcrawl.feeds.events import Told
from streamcrawl.feeds.names import UriParams, has_part, has_time, names_in, of_run
from streamcrawl.feeds.opening import Manner, Mode, open_feed
from streamcrawl.feeds.parts import Limits, OpenParts
from streamcrawl.feeds.values import Fields
from streamcrawl.storage.objects import Objects, Storage, shown
from streamcrawl.storage.paths import local_path
from streamcrawl.streams.sink import SinkOperator

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Feed(SinkOperator):
    """What `feed()` makes.

    Args:
        uri: Where it goes, with parameters.
        manner: How it is written.
        mode: What becomes of what is there.
        limits: When a part is whole.
        wanted: The test that items have to pass; None: all are taken.
        params: Values of the URI's parameters.
        storage: What fsspec's file system takes, or a Storage.
        table: The sink that writes instead: a table of SQLite.
    """

    uri: str
    manner: Manner
    mode: Mode = "overwrite"
    limits: Limits = field(default_factory=Limits)
    wanted: Test | None = field(default=None, repr=False)
    params: UriParams | None = field(default=None, repr=False)
    storage: Mapping[str, Any] | Storage = field(default_factory=dict[str, Any], repr=False)
    table: SinkOperator | None = None

    @property
    def name(self) -> str:
        """What messages and graphs call it."""
        return f"feed({shown(self.uri)})"

    @property
    def format(self) -> str:
        return "sqlite" if self.table is not None else self.manner.format.name

    @property
    def fields(self) -> Fields | None:
        return self.manner.settings.fields

    @property
    def target(self) -> str:
        """The same for two feeds that would write over one another."""
        if self.table is not None:
            return str(getattr(self.table, "target", self.uri))
        path = None if self.uri == STDOUT else local_path(self.uri)
        return self.uri if path is None else os.path.realpath(path)

    def open(self, run: Run, token: Any = None) -> OpenSink:
        """Open it for one run. Raises: SinkError naming the path and the reason."""
        began, inner = run.now(), token
        if isinstance(token, dict) and "began" in token:
            kept = cast("dict[str, Any]", token)
            began, inner = kept["began"], kept["feed"]
        uri = of_run(self.uri, run, began, self.params) if names_in(self.uri) else self.uri
        if self.table is None:
            opened = self._open(run, uri, inner)
        else:
            opened = replace(cast("Any", self.table), path=uri).open(run, inner)
        timed = has_time(self.uri)
        rename = self.fields if self.table is not None else None
        expected: Iterable[str] | None = self.fields or getattr(self.table, "fields", None)
        unseen = None if expected is None else Unseen(expected)
        if self.wanted is None and rename is None and unseen is None and not timed:
            return opened
        return Chosen(opened, self.wanted, rename, began if timed else None, unseen, Told(run, uri).notice)

    def _open(self, run: Run, uri: str, token: Any) -> OpenSink:
        path = None if uri == STDOUT else local_path(uri)
        if uri == STDOUT or (path is not None and not has_part(uri) and self.manner.format.convert is None):
            spool = None if self.manner.codec is None else run.spool(self.uri)
            return open_feed(uri, path, self.manner, run, mode=self.mode, token=token, spool=spool, told=Told(run, uri))
        storage = Objects(self.storage) if isinstance(self.storage, Mapping) else self.storage
        return OpenParts(uri, run, storage, self.manner, limits=self.limits, spool=run.spool(self.uri), token=token)
