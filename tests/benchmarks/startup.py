"""How long it takes to begin, and what is not loaded for it.

    python tests/benchmarks/startup.py [--rounds N]

Times whole processes, the bare interpreter among them, so that the difference is what streamcrawl adds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

HEAVY = ("IPython", "PIL", "aiohttp", "gcsfs", "h2", "httpx", "lxml", "parsel", "pyarrow", "reactivex", "rich", "s3fs")
HELP = "import sys; from streamcrawl.cli.main import main; sys.argv = ['streamcrawl', '--help']; main()"
STARTS = {
    "the interpreter alone": "pass",
    "import streamcrawl": "import streamcrawl",
    "import streamcrawl.operators": "import streamcrawl.operators",
    "streamcrawl --help": HELP,
}


def timed(code: str) -> float:
    """Milliseconds of one process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - begin)


def loaded(code: str) -> set[str]:
    """Which of HEAVY are loaded when `code` has run."""
    tell = f"import atexit, sys; atexit.register(lambda: print('\\n', *sorted(set({HEAVY!r}) & sys.modules.keys())))"
    done = subprocess.run([sys.executable, "-c", f"{tell}\n{code}"], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=15)
    given = arguments.parse_args()
    times: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(given.rounds):
        for name, code in STARTS.items():
            times[name].append(timed(code))
    print("| | ms (min–max) | loaded | not loaded |")
    print("|---|---:|---|---|")
    for name, code in STARTS.items():
        runs, there = times[name], loaded(code)
        absent = [each for each in HEAVY if each not in there]
        spread = f"{median(runs):.0f} ({min(runs):.0f}–{max(runs):.0f})"
        print(f"| {name} | {spread} | {', '.join(sorted(there)) or '–'} | {', '.join(absent) or '–'} |")


if __name__ == "__main__":
    main()
