"""The frontier of a job: whatever is added, leased, settled, committed and lost in a crash, the laws hold."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from frontier_machine import Entry, FrontierMachine
from hypothesis import settings
from hypothesis.stateful import rule

from streamcrawl.core import Lease, Request
from streamcrawl.frontier.fingerprint import fingerprint
from streamcrawl.frontier.frontier import Frontier
from streamcrawl.frontier.hosts import HostTable
from streamcrawl.frontier.rates import Rate

MEMORY = "/dev/shm"
"""Where there is one: a file system that does not wait for a disk. What a kill leaves is the same there."""


class DurableMachine(FrontierMachine):
    """The machine of the frontier in memory, with a job under it that crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.crashes = 0
        self.safe = 0
        """The highest id that is committed: rows are numbered as they come."""
        self.settled: list[tuple[str, Entry]] = []
        """Settled, and not committed."""
        self.rates: dict[str, tuple[dict[str, Rate], float]] = {}
        """What layers had said of hosts at the last commit."""

    def made(self) -> tuple[HostTable, Frontier]:
        table, frontier = super().made()
        directory = self.root / str(self.crashes)
        directory.mkdir(exist_ok=True)
        frontier.open(directory)
        frontier.load()
        return table, frontier

    def check_handed_out(self, lease: Lease) -> None:
        _, entry = self.entries[lease.request.url]
        assert lease.id == entry.rank[1]
        super().check_handed_out(lease)
        if lease.id > self.safe:
            self.committed()

    def committed(self) -> None:
        self.safe = self.added
        self.settled.clear()
        self.rates = {name: (dict(host.said), host.not_until) for name, host in self.hosts.items()}

    @rule()
    def commit(self) -> None:
        self.frontier.commit()
        self.committed()

    def settle(self, lease: Lease, name: str) -> None:
        super().settle(lease, name)
        self.settled.append((name, self.entries[lease.request.url][1]))

    @rule()
    def crash(self) -> None:
        """The process dies: what the files hold at this moment is all that is left."""
        killed = self.root / str(self.crashes)
        self.crashes += 1
        shutil.copytree(killed, self.root / str(self.crashes))
        self.frontier.close()
        shutil.rmtree(killed)
        self.table, self.frontier = self.made()
        for name, host in self.hosts.items():
            host.active.clear()
            host.closed = False
            said, host.not_until = self.rates.get(name, ({}, 0.0))
            host.said = dict(said)
            lost = [entry for entry in self.waiting[name] if entry.rank[1] > self.safe]
            for entry in lost:
                self.waiting[name].remove(entry)
                assert not self.frontier.known(fingerprint(Request(entry.url))), "it would never be asked for again"
        under_way = [(name, self.entries[lease.request.url][1]) for name, lease in self.out.values()]
        for name, entry in (*under_way, *self.settled):
            self.waiting[name].append(entry)
        self.out.clear()
        self.settled.clear()
        self.added = self.safe
        for entries in self.waiting.values():
            assert all(self.frontier.known(fingerprint(Request(entry.url))) for entry in entries)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if hasattr(self, "frontier"):
                self.frontier.close()
            shutil.rmtree(self.root)


DurableMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestDurableMachine = DurableMachine.TestCase
