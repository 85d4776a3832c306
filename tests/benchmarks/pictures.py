"""Pictures a second: real ones from Debian packages, as JPEG with two thumbnails, by streamcrawl and by Scrapy in turn.

    python tests/benchmarks/pictures.py [--rounds N] [--only NAME …] [--pictures FOLDER] [--count N]

Takes the JPEGs and PNGs of openclipart-png, mate-backgrounds and ukui-wallpapers (fetched by `apt-get download` and
unpacked into the user's cache folder, nothing is installed), serves a choice of them from a process of its own, and
runs every contender once a round, each in a process of its own. Checks that all store every picture and thumbnail.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from late import EVERY, Late
from pages import scrapy_python
from PIL import Image

HERE = Path(__file__).parent
PACKAGES = ("openclipart-png", "mate-backgrounds", "ukui-wallpapers")
THUMBS = {"small": (50, 50), "big": (270, 270)}
MOST = 64_000_000
"""Pixels; Scrapy takes no picture of more than 179 million, streamcrawl none of more than 64 million."""
ITEM = 10
"""Pictures of one item."""
CONTENDERS = {"streamcrawl": "pictures_streamcrawl.py", "scrapy": "pictures_scrapy.py"}


def pictures_folder(given: str | None) -> Path:
    """Where the unpacked packages are. Raises: subprocess.CalledProcessError if apt has them not."""
    if given:
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "streamcrawl-benchmarks" / "pictures"
    if not (home / "whole").exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=home, check=True, stderr=subprocess.DEVNULL)
        for package in home.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, home], check=True)
            package.unlink()
        (home / "whole").touch()
    return home


def choice(folder: Path, count: int) -> list[Path]:
    """Every wallpaper, and clip art from all over the alphabet until there are `count`, in an order by lot."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png") and not path.is_symlink())
    files = [path for path in files if pixels(path) <= MOST]
    wallpapers = [path for path in files if "backgrounds" in path.parts]
    art = [path for path in files if "openclipart" in path.parts]
    step = max(1, len(art) // max(1, count - len(wallpapers)))
    chosen = [*wallpapers, *art[::step]][:count]
    Random(1).shuffle(chosen)
    return chosen


def pixels(path: Path) -> int:
    Image.MAX_IMAGE_PIXELS = None  # it is asked about only
    with Image.open(path) as image:
        return image.width * image.height


@contextmanager
def served(paths: list[Path]) -> Iterator[str]:
    """A server of the pictures, by number, and of pages that name ten of them each."""
    command = [sys.executable, str(HERE / "pictures_site.py"), str(ITEM)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps([str(path) for path in paths]) + "\n")
        server.stdin.flush()
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def run(name: str, python: str, url: str, pages: int, store: Path) -> dict[str, Any]:
    """One crawl in its own process. Raises: RuntimeError with what it said if it fails."""
    command = [python, str(HERE / CONTENDERS[name]), url, str(pages), str(store)]
    late = Late()
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        while process.poll() is None:  # what a process that does nothing else sees of the machine
            late.ring()
            time.sleep(EVERY)
        told, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{name} ended with {process.returncode}:\n{errors}")
    result: dict[str, Any] = json.loads(told.splitlines()[-1])
    return {**result, "idle": late.longest}


def check(name: str, store: Path, count: int) -> None:
    """Raises: RuntimeError unless every picture and thumbnail is there."""
    for folder in ("full", *(f"thumbs/{thumb}" for thumb in THUMBS)):
        found = sum(path.stat().st_size > 0 for path in (store / folder).iterdir())
        if found != count:
            raise RuntimeError(f"{name} stored {found} of {count} files in {folder}")


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """The results as a Markdown table."""
    lines = [
        (
            "| | pictures/s (min–max) | × scrapy | CPU ms/picture | peak RSS MB (largest)"
            " | loop blocked ms (largest) | loop late ms (largest) | idle process late ms |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    speed = {name: [each["pictures"] / each["seconds"] for each in runs] for name, runs in results.items()}
    for name, runs in results.items():
        ratio = "–"
        if "scrapy" in speed:
            ratio = f"{median(mine / other for mine, other in zip(speed[name], speed['scrapy'], strict=True)):.2f}"
        rates = f"{median(speed[name]):.0f} ({min(speed[name]):.0f}–{max(speed[name]):.0f})"
        cpu = median(1000 * each["cpu"] / each["pictures"] for each in runs)
        peaks = [each["peak_rss"] / 1e6 for each in runs]
        peak = f"{median(peaks):.0f} ({max(peaks):.0f})"
        late = " | ".join(_in_ms([each[kind] for each in runs]) for kind in ("blocked", "late", "idle"))
        lines.append(f"| {name} | {rates} | {ratio} | {cpu:.1f} | {peak} | {late} |")
    return "\n".join(lines)


def _in_ms(seconds: list[float]) -> str:
    return f"{median(seconds) * 1000:.0f} ({max(seconds) * 1000:.0f})"


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    arguments.add_argument("--pictures", metavar="FOLDER", help="where the packages are unpacked")
    arguments.add_argument("--count", type=int, default=290)
    arguments.add_argument("--scrapy-python", metavar="PATH", help="an interpreter that has Scrapy and Pillow")
    given = arguments.parse_args()
    paths = choice(pictures_folder(given.pictures), given.count)
    size = sum(path.stat().st_size for path in paths) / 1e6
    print(
        f"{len(paths)} pictures, {size:.0f} MB, {sum(path.suffix == '.jpg' for path in paths)} of them JPEGs",
        file=sys.stderr,
    )
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in given.only}
    pages = -(-len(paths) // ITEM)
    with served(paths) as url, tempfile.TemporaryDirectory() as folder:
        for turn in range(given.rounds):
            for name in given.only:
                print(f"round {turn + 1} of {given.rounds}: {name}", file=sys.stderr)
                store = Path(folder, f"{name}-{turn}")
                python = scrapy_python(given.scrapy_python) if name == "scrapy" else sys.executable
                if name == "scrapy" and not given.scrapy_python:
                    subprocess.run([python, "-m", "pip", "install", "--quiet", "pillow"], check=True)
                results[name].append(run(name, python, url, pages, store))
                check(name, store, len(paths))
    print(table(results))


if __name__ == "__main__":
    main()
