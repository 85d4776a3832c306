"""A flow file: a Python file with a Crawl in it, and how it is loaded."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from streamcrawl.cli.exits import WrongUsage, one_line

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl

T = TypeVar("T")

FLOW_HELP = "a Python file with a Crawl in it, or with a function that returns one; :name says which"

_CRAWL = re.compile(r"(\w+\.)*Crawl(\[.*\])?")


@contextmanager
def flow_from(given: str) -> Generator[Crawl[Any], None, None]:
    """The crawl of a flow file; while the block lasts, the file's folder is first on the path, as for `python FILE`.

    Args:
        given: `PATH.py`, or `PATH.py:name` for a Crawl, or a function returning one, of that name.

    Raises: WrongUsage, in one line: no such file, no Python, no Crawl, several, an error of the user's code.
    """
    path, name = _split(given)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        module = _module(path)
        yield _named(path, module, name) if name is not None else _only(path, module)
    finally:
        sys.path.remove(folder)


def _split(given: str) -> tuple[Path, str | None]:
    head, colon, name = given.rpartition(":")
    named = bool(colon) and head.endswith(".py")
    path = Path(head if named else given)
    if path.is_dir():
        raise WrongUsage(f"{path}: a folder, not a Python file")
    if not path.is_file():
        raise WrongUsage(f"{path}: no such file")
    if path.suffix != ".py":
        raise WrongUsage(f"{path}: not a Python file (its name does not end in .py)")
    return path, name if named else None


def _module(path: Path) -> ModuleType:
    """The file as a module under its own name, so that processes it starts can import it, and pickles find it."""
    name = path.stem
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        name = "streamcrawl_flow_" + re.sub(r"\W", "_", name)
    spec = spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    execute = spec.loader.exec_module
    return _users(path, lambda: execute(module) or module)


def _users(path: Path, work: Callable[[], T]) -> T:
    """What `work`, the user's code, gives. Raises: WrongUsage with the error, and where in that code it was raised."""
    try:
        return work()
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError) and error.filename is not None:
            what, where = f"{type(error).__name__}: {error.msg}", f"{_short(error.filename)}:{error.lineno}"
        else:
            what, where = one_line(error), _place(path, error)
        raise WrongUsage(f"{path}: {what} ({where})" if where else f"{path}: {what}") from error


def _place(path: Path, error: BaseException) -> str:
    """The deepest line of the flow file, or of a file in its folder, that led to the error."""
    folder = path.resolve().parent
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).is_relative_to(folder) and "site-packages" not in frame.filename:
            found = f"{_short(frame.filename)}:{frame.lineno}"
    return found


def _short(filename: str) -> str:
    try:
        return str(Path(filename).resolve().relative_to(Path.cwd()))
    except ValueError:
        return filename


def _named(path: Path, module: ModuleType, name: str) -> Crawl[Any]:
    if not hasattr(module, name):
        there = ", ".join((*_crawls(module), *_makers(module)))
        raise WrongUsage(f"{path}: no {name!r} in it" + (f"; it has {there}" if there else ""))
    value: Any = getattr(module, name)
    if is_crawl(value):
        return value
    if not callable(value):
        raise WrongUsage(
            f"{path}: {name} is a {type(value).__name__}, and neither a Crawl nor a function that returns one"
        )
    return _made(path, name, value)


def _only(path: Path, module: ModuleType) -> Crawl[Any]:
    crawls = _crawls(module)
    makers = {} if crawls else _makers(module)
    names = [*crawls, *makers]
    if not names:
        raise WrongUsage(f"{path}: no Crawl in it: write `crawl = Crawl(…).pipe(…)` at module level")
    if len(names) > 1:
        raise WrongUsage(f"{path}: several crawls in it; say which: {', '.join(f'{path}:{name}' for name in names)}")
    name = names[0]
    return crawls[name] if crawls else _made(path, name, makers[name])


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


def _made(path: Path, name: str, make: Callable[[], Any]) -> Crawl[Any]:
    value = _users(path, make)
    if is_crawl(value):
        return value
    if inspect.iscoroutine(value):
        value.close()
    raise WrongUsage(f"{path}: {name}() gave a {type(value).__name__}, and not a Crawl")
