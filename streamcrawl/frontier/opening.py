"""What has to be put right when a job is opened: fingerprints that a power cut took, a clock that was set back."""

from __future__ import annotations

from pathlib import Path

from streamcrawl.frontier.seen import Seen, delete
from streamcrawl.frontier.store import Store

JUMP = 10.0
"""Seconds by which the clock may be behind the last commit without being told."""


def opened_seen(directory: Path, store: Store) -> Seen:
    """The fingerprints of all rows. The files are trusted as far as they were written before the last commit."""
    boot = _boot()
    mark: int = store.meta("seen", 0)
    try:
        seen = Seen(directory / "seen", memory=0)
    except ValueError:  # damaged: they are made anew of the tables
        delete(directory / "seen")
        seen, mark = Seen(directory / "seen", memory=0), 0
    if (boot is None or store.meta("boot") != boot) and not store.meta("closed", False):
        mark = 0  # after a power cut the files may lack what the tables have
    if len(seen) < store.meta("keys", 0):
        mark = 0  # somebody has removed or emptied one
    if mark == 0:
        seen.forget()
    seen.replay(store.keys(mark))
    store.note("boot", boot)
    store.note("closed", False)
    return seen


def moved_back(store: Store, now: float) -> float:
    """Seconds by which the clock is behind the last commit; what waits for its time is moved by as much."""
    told: float = store.meta("told", 0.0)
    if told - now <= JUMP:
        return 0.0
    store.shift(now - told)
    return told - now


def _boot() -> str | None:
    """What changes when the machine is started anew; None where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
