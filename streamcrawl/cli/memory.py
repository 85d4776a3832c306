"""How much memory this process holds."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident() -> int:
    """Bytes held now; where the system does not say, the most that were held; 0 if it says neither."""
    return _status("VmRSS") or peak_resident()


def peak_resident() -> int:
    """The most bytes that were held; 0 if the system does not say."""
    # getrusage's peak is handed down through exec: a big parent's would count as ours.
    return _status("VmHWM") or _usage()


def _status(field: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _usage() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
