"""The site of `pictures.py`: takes a line of JSON with paths, and prints its URL. `PICTURES-A-PAGE`"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from streamcrawl.testing.site import Answer, Arrival, Reply, serve


def main() -> None:
    paths = [Path(each) for each in json.loads(sys.stdin.readline())]
    each = int(sys.argv[1])

    def handle(arrival: Arrival) -> Reply:
        _, kind, number = arrival.path.split("/")
        if kind == "page":
            first = int(number) * each
            return "".join(f'<img src="/picture/{n}">' for n in range(first, min(first + each, len(paths))))
        path = paths[int(number)]
        kind = "image/jpeg" if path.suffix == ".jpg" else "image/png"
        return Answer(path.read_bytes(), headers={"Content-Type": kind})

    with serve(handle) as site:
        print(site.url, flush=True)
        sys.stdin.read()  # until the benchmark is over


if __name__ == "__main__":
    main()
