"""A flow file: a Python file with a Crawl or a Spider in it, and how it is loaded."""

from __future__ import annotations

import inspect
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, TypeVar

from streamcrawl.arguments import meant, unknown_in
from streamcrawl.cli.exits import WrongUsage, one_line
from streamcrawl.cli.lines import LOG
from streamcrawl.errors import FlowError, StreamcrawlError
from streamcrawl.mistakes import place_of, said

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.spiders.spider import Spider

T = TypeVar("T")

FLOW_HELP = "a Python file with a Crawl or a Spider in it, or a function that returns a Crawl; :name says which"

TWICE = 'it runs its crawl while it is loaded, which would be twice: put run() under `if __name__ == "__main__":`'
"""What is said of a file that does the work of `streamcrawl run` itself."""

_CRAWL = re.compile(r"(\w+\.)*Crawl(\[.*\])?")


class FlowFile(NamedTuple):
    """A flow file that is loaded.

    Args:
        path: The file.
        name: Which of its crawls is asked for, or None.
        module: What it has become.
        begun: Crawls that it has run meanwhile, and in which line.
    """

    path: Path
    name: str | None
    module: ModuleType
    begun: Sequence[tuple[Crawl[Any], int]] = ()


def add_spider_arguments(parser: ArgumentParser) -> None:
    """-a NAME=VALUE."""
    parser.add_argument(
        "-a",
        dest="arguments",
        action="append",
        type=_pair,
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the spider, or of the function that makes the crawl; may be repeated",
    )


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name.isidentifier():
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


@contextmanager
def flow_from(given: str, arguments: Mapping[str, str] | None = None) -> Generator[Crawl[Any], None, None]:
    """The crawl of a flow file; while the block lasts, the file's folder is first on the path, as for `python FILE`.

    Args:
        given: `PATH.py`, or `PATH.py:name` for a Crawl, a Spider, or a function returning a Crawl, of that name.
        arguments: For the Spider or the function.

    Raises: WrongUsage, in one line: no such file, no Python, no Crawl, several, an error of the user's code.
    """
    with file_from(given) as file:
        yield crawl_in(file, arguments)


@contextmanager
def file_from(given: str) -> Generator[FlowFile, None, None]:
    """A flow file, loaded. Raises: WrongUsage, in one line."""
    path, name = _split(given)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        begun: list[tuple[Crawl[Any], int]] = []
        yield FlowFile(path, name, _module(path, name, begun), begun)
    finally:
        sys.path.remove(folder)


def crawl_in(file: FlowFile, arguments: Mapping[str, str] | None = None) -> Crawl[Any]:
    """The crawl that is asked for, or the only one. Raises: WrongUsage."""
    path, name, module, begun = file
    if name is None:
        name = _only(path, module)
    crawl = _named(path, module, name, dict(arguments or {}))
    if begun:
        from streamcrawl.crawl.loading import alike

        for ran, line in begun:
            if alike(ran, crawl):
                raise WrongUsage(f"{path}: {TWICE} ({path}:{line})")
    return crawl


def all_in(file: FlowFile) -> dict[str, Any]:
    """The crawls, functions that say they return one, and spiders of a file, by name; if one is named, that one.

    Raises: WrongUsage if there is none of that name.
    """
    path, name, module, _ = file
    if name is None:
        return {**_crawls(module), **_makers(module), **spiders(module)}
    return {name: _called(path, module, name)}


def _split(given: str) -> tuple[Path, str | None]:
    head, colon, name = given.rpartition(":")
    named = bool(colon) and head.endswith(".py")
    path = Path(head if named else given)
    if path.is_dir():
        raise WrongUsage(f"{path}: a folder, not a Python file")
    if not path.is_file():
        meant = f"; did you mean {path}.py?" if path.with_name(f"{path.name}.py").is_file() else ""
        raise WrongUsage(f"{path}: no such file{meant}")
    if path.suffix != ".py":
        raise WrongUsage(f"{path}: not a Python file (its name does not end in .py)")
    return path, name if named else None


def _module(path: Path, asked: str | None, begun: list[tuple[Crawl[Any], int]]) -> ModuleType:
    """The file as a module under its own name, so that processes it starts can import it, and pickles find it.

    Args:
        path: The file.
        asked: Which of its crawls is asked for, or None.
        begun: Takes the crawls that the file runs while it is loaded.

    Raises: WrongUsage, also if it runs a crawl of its own that can only be the one that is asked for.
    """
    from streamcrawl.crawl.loading import BEGINNING

    name = path.stem
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        name = "streamcrawl_flow_" + re.sub(r"\W", "_", name)
    spec = spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    execute = spec.loader.exec_module

    def beginning(crawl: Crawl[Any]) -> None:
        if _is_named(crawl, module, asked):
            raise FlowError(TWICE)
        begun.append((crawl, _line_in(module)))

    token = BEGINNING.set(beginning)
    try:
        return _users(path, lambda: execute(module) or module)
    finally:
        BEGINNING.reset(token)


def _is_named(crawl: Crawl[Any], module: ModuleType, asked: str | None) -> bool:
    """Whether a crawl is one that the module has under a name: under the name that is asked for, if one is."""
    from streamcrawl.crawl.loading import alike, spider_of

    spider = spider_of(crawl)
    for name, value in vars(module).items():
        same = alike(crawl, value) if is_crawl(value) else value is spider is not None
        if same and asked in (None, name, getattr(spider, "name", None)):
            return True
    return False


def _line_in(module: ModuleType) -> int:
    """The line of the module that is being executed."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and frame.f_globals is not vars(module):
        frame = frame.f_back
    while frame is not None and frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    return 0 if frame is None else frame.f_lineno


def _users(path: Path, work: Callable[[], T]) -> T:
    """What `work`, the user's code, gives. Raises: WrongUsage with the error, and where in that code it was raised."""
    try:
        return work()
    except (Exception, SystemExit) as error:
        own = isinstance(error, StreamcrawlError)  # it speaks for itself
        where = place_of(error) if own else ""
        what = one_line(error) if own else said(error)
        raise WrongUsage(f"{path}: {what} ({where})" if where else f"{path}: {what}") from error


def _called(path: Path, module: ModuleType, name: str) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    for spider in spiders(module).values():
        if spider.name == name:
            return spider
    there = ", ".join((*_crawls(module), *_makers(module), *spiders(module)))
    raise WrongUsage(f"{path}: no {name!r} in it" + (f"; it has {there}" if there else ""))


def _named(path: Path, module: ModuleType, name: str, arguments: dict[str, str]) -> Crawl[Any]:
    value = _called(path, module, name)
    if is_crawl(value):
        if arguments:
            raise WrongUsage(f"-a {next(iter(arguments))}=…: {path}: {name} is a Crawl, which takes no arguments")
        return value
    if is_spider(value):
        from streamcrawl.crawl.crawl import Crawl
        from streamcrawl.spiders.arguments import unused

        crawl = _users(path, lambda: Crawl.of(value, **arguments))
        for unread, near in unused(value, arguments):
            hint = f"; did you mean {near!r}?" if near else ""
            LOG.warning("-a %s=…: nothing in %s uses %r%s", unread, value.__name__, unread, hint)
        return crawl
    if not callable(value):
        raise WrongUsage(
            f"{path}: {name} is a {type(value).__name__}, and neither a Crawl nor a function that returns one"
        )
    return _made(path, name, value, arguments)


def _only(path: Path, module: ModuleType) -> str:
    names = [*(_crawls(module) or _makers(module) or spiders(module))]
    if not names:
        nameless = [
            value for value in vars(module).values() if is_spider(value) and value.__module__ == module.__name__
        ]
        if nameless:
            raise WrongUsage(f'{path}: {nameless[0].__name__} has no name: write name = "…" in the class')
        raise WrongUsage(f"{path}: no Crawl in it: write `crawl = Crawl(…).pipe(…)` at module level")
    if len(names) > 1:
        raise WrongUsage(f"{path}: several crawls in it; say which: {', '.join(f'{path}:{name}' for name in names)}")
    return str(names[0])


def spiders(module: ModuleType) -> dict[str, type[Spider]]:
    """The module's own classes of spiders; if it has none, those that it imports."""
    found = {name: value for name, value in vars(module).items() if is_spider(value) and getattr(value, "name", None)}
    return {name: value for name, value in found.items() if value.__module__ == module.__name__} or found


def is_spider(value: object) -> TypeGuard[type[Spider]]:
    """Whether it is a class of spiders."""
    from streamcrawl.spiders.spider import Spider

    return isinstance(value, type) and issubclass(value, Spider)


def is_crawl(value: object) -> TypeGuard[Crawl[Any]]:
    """Whether it is a Crawl, of whatever items."""
    from streamcrawl.crawl.crawl import Crawl

    return isinstance(value, Crawl)


def _crawls(module: ModuleType) -> dict[str, Crawl[Any]]:
    """The crawls at module level, each once; of those only the ones that can run, if there are such."""
    found: dict[str, Crawl[Any]] = {}
    for name, value in vars(module).items():
        if is_crawl(value) and not any(value is other for other in found.values()):
            found[name] = value
    whole = {name: crawl for name, crawl in found.items() if crawl.pipes.download is not None}
    return whole or found


def _makers(module: ModuleType) -> dict[str, Callable[[], Any]]:
    """The module's own functions that say they return a Crawl."""
    made: dict[str, Callable[[], Any]] = {}
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__:
            returned = value.__annotations__.get("return")
            text = returned if isinstance(returned, str) else getattr(returned, "__name__", "")
            if _CRAWL.fullmatch(text.strip()):
                made[name] = value
    return made


def _made(path: Path, name: str, make: Callable[..., Any], arguments: dict[str, str]) -> Crawl[Any]:
    with suppress(ValueError, TypeError):  # of which nobody knows what they take
        if unknown := unknown_in(make, arguments):
            raise WrongUsage(f"-a {unknown}=…: {path}: {name}() has no argument {unknown!r}; {meant(make, unknown)}")
    value = _users(path, lambda: make(**arguments))
    if is_crawl(value):
        return value
    if inspect.iscoroutine(value):
        value.close()
    raise WrongUsage(f"{path}: {name}() gave a {type(value).__name__}, and not a Crawl")
