"""Some 4,200 real robots.txt files, and what the parsers make of them.

They are Protego's test data, files of the web's most visited sites as they were fetched in 2020, and come with its
source distribution on PyPI. The files belong to those sites, so they are fetched from there and not kept here.
`STREAMCRAWL_ROBOTS` names a folder that has them already.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from streamcrawl.errors import InvalidURL
from streamcrawl.robots import RobotsParser, RobotsRules, delay_asked
from streamcrawl.robots_parsers import text_of
from streamcrawl.urls import normalize

RELEASE = "protego==0.7.0"
AGENTS = ("streamcrawl", "Googlebot")
"""One that no file names, and one that many do."""
SAMPLED = 30
"""Rules of a file from which addresses are made."""
EVERYWHERE = ("/", "/index.html", "/a/b.html?c=d&e=f", "/search?q=x", "/images/x.jpg", "/wp-admin/")


def corpus(folder: Path) -> list[Path]:
    """The files; they are downloaded into `folder`, which is to be there, unless STREAMCRAWL_ROBOTS names another."""
    given = os.environ.get("STREAMCRAWL_ROBOTS")
    return sorted(path for path in (Path(given) if given else _unpacked(folder)).iterdir() if path.is_file())


def _unpacked(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "protego", "-d", str(folder)]
    subprocess.run([*pip, RELEASE], check=True, timeout=200)
    (archive,) = folder.glob("protego-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        packed.extractall(folder)
    return next(folder.glob("protego-*/tests/test_data"))


_RULE = re.compile(r"(?im)^[ \t]*(?:dis)?allow[ \t]*:[ \t]*([^\s#]+)")


def addresses(text: str) -> list[str]:
    """URLs that a file's rules are about, and some that every site may have."""
    paths = [found.replace("*", "x").removesuffix("$") for found in dict.fromkeys(_RULE.findall(text))]
    some = paths[:: max(1, len(paths) // SAMPLED)]
    found: dict[str, None] = {}
    for path in (*EVERYWHERE, *some, *(path + "x" for path in some)):
        try:
            found[normalize("http://a.example" + (path if path.startswith("/") else "/" + path))] = None
        except InvalidURL:
            continue
    return list(found)


# -- the causes: what has to be changed in a file for two parsers to agree about it ------------------

Line = tuple[str, str]
"""(field in lower case, value); a blank line is ("", "")."""


def lines_of(text: str) -> list[Line]:
    """The lines of a file that have the form of the grammar; others are ("?", the line)."""
    lines: list[Line] = []
    for each in text.splitlines():
        bare = each.partition("#")[0].strip()
        name, colon, value = bare.partition(":")
        if bare or not each.strip():
            lines.append((name.strip().lower(), value.strip()) if colon else ("?", bare) if bare else ("", ""))
    return lines


def written(lines: Iterable[Line]) -> bytes:
    return "\n".join(value if name == "?" else f"{name}: {value}" if name else "" for name, value in lines).encode(
        "utf-8", "replace"
    )


KNOWN = frozenset({"user-agent", "allow", "disallow", "crawl-delay", "request-rate", "visit-time", "sitemap", "host"})
RULES = frozenset({"allow", "disallow"})
GROUPED = KNOWN - {"sitemap", "host"}


def strict(lines: list[Line]) -> list[Line]:
    return [each for each in lines if each[0] in KNOWN or each[0] == ""]


def without_blanks(lines: list[Line]) -> list[Line]:
    return [each for each in lines if each[0]]


def merged(lines: list[Line]) -> list[Line]:
    """Each agent has one group, with a line of its own."""
    groups: dict[str, list[Line]] = {}
    rest: list[Line] = []
    agents: list[str] = []
    ended = True
    for name, value in strict(lines):
        if name == "user-agent":
            agents = [value.lower()] if ended else [*agents, value.lower()]
            ended = False
        elif name in GROUPED:
            ended = True
            for agent in agents:
                groups.setdefault(agent, []).append((name, value))
        elif name:
            rest.append((name, value))
    written_groups = [[("user-agent", agent), *rules, ("", "")] for agent, rules in groups.items() if agent]
    return [line for group in written_groups for line in group] + rest


def for_our_agents(lines: list[Line]) -> list[Line]:
    """Only the groups whose agent is "*" or exactly one that is asked for."""
    kept: list[Line] = []
    wanted = True
    for name, value in merged(lines):
        if name == "user-agent":
            wanted = value == "*" or value in {agent.lower() for agent in AGENTS}
        if wanted or name not in GROUPED:
            kept.append((name, value))
    return kept


def in_order(lines: list[Line]) -> list[Line]:
    """The rules of each group with the longest first, and what allows before what forbids."""
    kept: list[Line] = []
    rules: list[Line] = []
    for line in [*merged(lines), ("", "")]:
        if line[0] in RULES:
            rules.append(line)
            continue
        kept += sorted(rules, key=lambda rule: (-len(rule[1]), rule[0]))
        rules = []
        kept.append(line)
    return kept


def without(pattern: str) -> Callable[[list[Line]], list[Line]]:
    """Leave out the rules whose path has this."""
    odd = re.compile(pattern)
    return lambda lines: [line for line in lines if line[0] not in RULES or odd.search(line[1]) is None]


CAUSES: dict[str, Callable[[list[Line]], list[Line]]] = {
    "lines out of the grammar": strict,
    "blank lines within a group": without_blanks,
    "several groups for one agent": merged,
    "what an agent's name matches": for_our_agents,
    "order of the rules": in_order,
    "`*` or `$` in a path": without(r"\*|\$"),
    "escapes and characters beyond ASCII": without(r"%|[^\x21-\x7e]"),
    "empty rules": without(r"^$"),
    "paths without a slash at the beginning": without(r"^[^/*]"),
    "other special characters": without(r"[^\w/.-]"),
}
SEVERAL, UNKNOWN = "several of these", "unknown"


@dataclass
class Tally:
    """What one parser made of the corpus."""

    files: int = 0
    verdicts: int = 0
    parsing: float = 0.0
    """Seconds."""
    judging: float = 0.0
    errors: list[str] = field(default_factory=list[str])
    differing: int = 0
    stricter: int = 0
    """Of those that differ: it forbids what Protego allows."""
    differing_files: int = 0
    other_delay: int = 0
    """Files whose delay for one of the agents differs."""
    causes: Counter[str] = field(default_factory=Counter[str])


Verdicts = dict[tuple[str, str], bool]
"""(agent, URL) -> whether it is allowed."""


def judged(name: str, tally: Tally, parser: RobotsParser, body: bytes, urls: list[str]) -> tuple[Verdicts, list[float]]:
    """The parser's verdicts on one file, and the delays that it finds."""
    begin = time.perf_counter()
    try:
        rules: RobotsRules = parser(body, "http://a.example/robots.txt")
        parsed = time.perf_counter()
        verdicts = {(agent, url): rules.allowed(url, agent) for agent in AGENTS for url in urls}
        tally.judging += time.perf_counter() - parsed
        delays = [delay_asked(rules, agent) for agent in AGENTS]
    except Exception as error:
        tally.errors.append(f"{name}: {type(error).__name__}: {error}")
        return {}, []
    tally.parsing += parsed - begin
    tally.files += 1
    tally.verdicts += len(verdicts)
    return verdicts, delays


def cause_of(body: bytes, parser: RobotsParser, other: RobotsParser, differing: list[tuple[str, str]]) -> Counter[str]:
    """For each verdict the first change to the file after which the two parsers agree about it."""
    lines = lines_of(text_of(body))
    steps = {name: change(lines) for name, change in CAUSES.items()}
    all_of_them = lines
    for change in CAUSES.values():
        all_of_them = change(all_of_them)
    steps[SEVERAL] = all_of_them
    causes: Counter[str] = Counter()
    left = list(differing)
    for name, changed in steps.items():
        if not left:
            break
        text = written(changed)
        mine, theirs = parser(text, "http://a.example/robots.txt"), other(text, "http://a.example/robots.txt")
        still = [each for each in left if mine.allowed(each[1], each[0]) != theirs.allowed(each[1], each[0])]
        causes[name] += len(left) - len(still)
        left = still
    causes[UNKNOWN] += len(left)
    return +causes


def compared(files: Iterable[Path], parsers: dict[str, RobotsParser]) -> dict[str, Tally]:
    """What every parser makes of the files, against the first of them."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    (first, reference), *others = parsers.items()
    for path in files:
        body = path.read_bytes()
        urls = addresses(text_of(body))
        expected, delays = judged(path.name, tallies[first], reference, body, urls)
        for name, parser in others:
            tally = tallies[name]
            verdicts, asked = judged(path.name, tally, parser, body, urls)
            differing = [each for each, allowed in verdicts.items() if allowed != expected[each]]
            tally.other_delay += asked != delays
            if differing:
                tally.differing += len(differing)
                tally.differing_files += 1
                tally.stricter += sum(not verdicts[each] for each in differing)
                tally.causes += cause_of(body, parser, reference, differing)
    return dict(tallies)
