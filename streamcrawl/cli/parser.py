"""The parser of the command line: what is wrong is told in a line or two, and what was meant with it."""

from __future__ import annotations

import argparse
import re
import sys
from typing import NoReturn

from streamcrawl.cli.exits import USAGE
from streamcrawl.mistakes import nearest

SCRAPY = {
    "crawl": "`streamcrawl run shop.py` runs the spider in shop.py",
    "edit": "a flow is one file, which any editor opens",
    "genspider": "a spider is a class in a file of its own, and `streamcrawl demo` writes a first one",
    "runspider": "`streamcrawl run shop.py` runs the spider in shop.py",
    "settings": "there is no project; a spider has custom_settings, an operator its arguments",
    "startproject": "there is no project: a flow is one file, and `streamcrawl demo` writes a first one",
    "version": "`streamcrawl --version`",
}
"""Commands of Scrapy, and what there is here."""

OPTIONS = {
    "-L": "--log-level debug",
    "-s": "custom_settings of the spider, or the arguments of operators, say what settings say",
    "-t": "-O FILE:FORMAT names the format of a feed",
    "--nolog": "--quiet",
    "--loglevel": "--log-level debug",
    "--set": "custom_settings of the spider, or the arguments of operators, say what settings say",
}
"""Options of Scrapy, and what there is here."""

_COMMAND = re.compile(r"argument COMMAND: invalid choice: '(.*?)'")
_UNKNOWN = re.compile(r"unrecognized arguments: (--?[\w-]+)")


class Parser(argparse.ArgumentParser):
    """Ends with a line of usage and a line that says what is wrong; `--help` has the rest."""

    def error(self, message: str) -> NoReturn:
        """Say it, and end. Raises: SystemExit."""
        print(self.short_usage(), f"error: {self._meant(message)}", sep="\n", file=sys.stderr)
        sys.exit(USAGE)

    def short_usage(self) -> str:
        """The usage in a line, whatever the number of options."""
        if self.usage is not None:
            return f"usage: {self.usage}"
        around = {"?": "[{}]", "*": "[{} ...]"}
        shown = [around.get(str(each.nargs), "{}").format(each.metavar or each.dest) for each in self._given()]
        return f"usage: {self.prog} {' '.join(['[OPTIONS]', *shown])}; --help says more"

    def _given(self) -> list[argparse.Action]:
        return [each for each in self._actions if not each.option_strings]

    def _meant(self, message: str) -> str:
        command, option = _COMMAND.match(message), _UNKNOWN.match(message)
        if command is not None:
            name = command[1]
            names = [name for each in self._given() for name in each.choices or ()]
            near = nearest(name, names, 0.6)
            hint = SCRAPY.get(name) or (f"did you mean {near}?" if near else f"there are {', '.join(names)}")
            return f"there is no command {name!r}; {hint}"
        if option is not None and option[1] in OPTIONS:
            return f"{message}; {OPTIONS[option[1]]}"
        if option is not None and option[1].startswith("--"):
            near = nearest(option[1], self._option_string_actions)
            return f"{message}; did you mean {near}?" if near else message
        return message
