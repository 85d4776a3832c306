"""How many files and connections this process may have open at a time."""

from __future__ import annotations

import sys

UNKNOWN = 1 << 20
"""Descriptors on a system that tells no bound."""

MOST = 65_536
"""Descriptors that are asked for: a table of more costs memory, and what closes all of them takes its time."""


def descriptors() -> int:
    """File descriptors that this process may have: what `ulimit -n` says."""
    if sys.platform == "win32":
        return UNKNOWN
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNKNOWN if soft == resource.RLIM_INFINITY else soft


def more_descriptors() -> None:
    """Take as many as the system lets this process have, 65,536 at most.

    Where nobody has said how many, `ulimit -n` is 1,024 on most systems, and its bound far higher.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(MOST, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has a bound of its own below the one that it tells
            return
