"""What the parsers of robots.txt make of 4,200 real files: errors, time, and verdicts other than Protego's, by cause.

    python tests/benchmarks/robots_corpus.py [--folder FOLDER]

FOLDER has the files, one for each site; without it they are taken from Protego's source distribution, which pip
downloads. Every parser that is installed takes part. Each file is asked about addresses made of its own rules and some
more, for two agents. A cause is the first change to the file after which the two parsers agree.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from corpus.robots_files import CAUSES, SEVERAL, UNKNOWN, Tally, compared, corpus

from streamcrawl.robots_parsers import installed


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--folder", help="the folder of the files, if they are there already")
    folder = arguments.parse_args().folder
    if folder:
        os.environ["STREAMCRAWL_ROBOTS"] = folder
    with tempfile.TemporaryDirectory() as made:
        files = corpus(Path(made))
        tallies = compared(files, installed())
    print(
        f"{len(files)} files, {sum(tally.verdicts for tally in tallies.values()) // len(tallies)} verdicts a parser\n"
    )
    print(
        "| | errors | ms to read a file | µs a verdict | other verdicts than Protego | of them forbidding | in files |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, tally in tallies.items():
        print(f"| {name} | {len(tally.errors)} | {times(tally)} | {differences(tally)} |")
    others = {name: tally for name, tally in tallies.items() if name != "protego"}
    print(f"\n| cause | {' | '.join(others)} |\n|---|{'---:|' * len(others)}")
    for cause in (*CAUSES, SEVERAL, UNKNOWN):
        counts = [tally.causes[cause] for tally in others.values()]
        if any(counts):
            print(f"| {cause} | {' | '.join(f'{count:,}' for count in counts)} |")
    print(f"| another delay (files) | {' | '.join(str(tally.other_delay) for tally in others.values())} |")
    for tally in tallies.values():
        for error in tally.errors:
            print(error)


def times(tally: Tally) -> str:
    return f"{1e3 * tally.parsing / tally.files:.2f} | {1e6 * tally.judging / tally.verdicts:.1f}"


def differences(tally: Tally) -> str:
    share = f"{tally.differing:,} ({tally.differing / tally.verdicts:.1%})"
    return f"{share} | {tally.stricter:,} | {tally.differing_files:,}" if tally.differing else "– | – | –"


if __name__ == "__main__":
    main()
