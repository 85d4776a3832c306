"""Imports point one way, packages export what they say, and start-up loads only what it needs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "streamcrawl"

LAYERS = (
    ("encoding", "errors", "headers", "hrefs", "referrer", "response", "siblings", "trees", "urls", "version"),
    ("arguments", "core", "leases", "mistakes"),
    ("adapters", "events", "items", "stats"),
    ("streams",),
    (
        "backoff",
        "breaker",
        "caching",
        "cookies",
        "descriptors",
        "feeds",
        "frontier",
        "hops",
        "media",
        "links",
        "loaders",
        "metas",
        "pipelines",
        "processors",
        "proxies",
        "proxy_urls",
        "rate_patterns",
        "records",
        "requests",
        "retrying",
        "robots",
        "robots_agents",
        "robots_gate",
        "robots_kept",
        "robots_parsers",
        "scoping",
        "storage",
        "throttling",
        "transport",
        "vetting",
        "validating",
    ),
    ("linkextractors", "loader", "operators"),
    ("spiders",),
    ("crawl",),
    ("",),  # streamcrawl/__init__.py, which re-exports
    ("testing",),
    ("project",),
    ("__main__", "cli"),
)
"""From the lowest to the highest: a module imports from its own layer and those before it."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

LAZY = {("streamcrawl.response", "streamcrawl.core"): "a Response made without a Request makes one"}
"""Back edges that are allowed inside a function, with the reason."""

HEAVY = ("IPython", "PIL", "gcsfs", "pyarrow", "rich", "s3fs")


@dataclass(frozen=True)
class Import:
    """One import statement's edge. `when`: "module", "function" or "typing" (under TYPE_CHECKING)."""

    source: str
    target: str
    when: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target} ({self.when} level)"


def module_files() -> dict[str, Path]:
    """Every module by its dotted name. The folder operators/ is reached through its symlink."""
    files: dict[str, Path] = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *(PACKAGE / "operators").glob("**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imports_of(module: str, source: str, modules: set[str]) -> list[Import]:
    """The imports of `streamcrawl` modules in one file, wherever they stand."""
    found: list[Import] = []

    def visit(node: ast.AST, when: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(module, name.name, when, child.lineno) for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                assert child.level == 0, f"{module}:{child.lineno} imports relatively: write {base} with its full name"
                # `from streamcrawl import operators` is an edge to the submodule, not to the package.
                for name in child.names:
                    full = f"{base}.{name.name}"
                    found.append(Import(module, full if full in modules else base, when, child.lineno))
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                visit(child, "function")
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for statement in child.body:
                    visit(ast.Module([statement], []), "typing")
                for statement in child.orelse:
                    visit(ast.Module([statement], []), when)
            else:
                visit(child, when)

    visit(ast.parse(source), "module")
    return found


def all_imports() -> list[Import]:
    files = module_files()
    return [each for name, path in files.items() for each in imports_of(name, path.read_text("utf-8"), set(files))]


def part_of(module: str) -> str:
    """The name that LAYERS has for a module: what follows `streamcrawl.`"""
    return module.split(".")[1] if "." in module else ""


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "streamcrawl"


def back_edges(imports: list[Import]) -> list[str]:
    """The imports that point from a lower layer to a higher one, but for those that LAZY and typing allow."""
    bad: list[str] = []
    for each in imports:
        if not is_ours(each.target) or LEVEL[part_of(each.source)] >= LEVEL[part_of(each.target)]:
            continue
        leaf_types = each.when == "typing" and LEVEL[part_of(each.source)] == 0 and part_of(each.target) == "core"
        lazy = each.when == "function" and (each.source, each.target) in LAZY
        if not (leaf_types or lazy):
            bad.append(str(each))
    return bad


def test_every_module_has_its_layer() -> None:
    unknown = {part_of(module) for module in module_files()} - set(LEVEL)
    assert unknown == set(), "add it to LAYERS in this file"


def test_imports_point_one_way() -> None:
    imports = all_imports()
    assert len([each for each in imports if is_ours(each.target)]) > 20
    assert back_edges(imports) == []


def test_a_back_edge_is_seen_wherever_it_stands() -> None:
    modules = {"streamcrawl", "streamcrawl.core", "streamcrawl.operators", "streamcrawl.crawl"}
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from streamcrawl.crawl import Crawl
def lazy():
    from streamcrawl import operators
class A:
    import streamcrawl.crawl
from streamcrawl import Crawl
from streamcrawl.core import Request
"""
    found = back_edges(imports_of("streamcrawl.core", source, modules))
    assert found == [
        "streamcrawl.core:4 imports streamcrawl.crawl (typing level)",
        "streamcrawl.core:6 imports streamcrawl.operators (function level)",
        "streamcrawl.core:8 imports streamcrawl.crawl (module level)",
        "streamcrawl.core:9 imports streamcrawl (module level)",
    ]


def test_no_circle_of_modules() -> None:
    """Within a layer too: at module level nothing imports, however far around, what imports it."""
    edges: dict[str, set[str]] = {}
    for each in all_imports():
        if each.when == "module" and is_ours(each.target) and each.source != each.target:
            edges.setdefault(each.source, set()).add(each.target)

    def reaches(source: str, wanted: str, passed: set[str]) -> bool:
        for target in edges.get(source, set()) - passed:
            passed.add(target)
            if target == wanted or reaches(target, wanted, passed):
                return True
        return False

    assert [module for module in edges if reaches(module, module, set())] == []


def test_the_demo_site_needs_only_the_standard_library() -> None:
    sites = [each for each in all_imports() if each.source.startswith("streamcrawl.testing.site")]
    foreign = [
        str(each)
        for each in sites
        if each.target.partition(".")[0] not in sys.stdlib_module_names
        and not each.target.startswith("streamcrawl.testing.site")
    ]
    assert sites, "where is streamcrawl.testing.site?"
    assert foreign == []


def test_only_the_transport_knows_the_http_clients() -> None:
    """So that another client can take their place."""
    clients = {"aiohttp", "httpcore", "httpx", "httpx_aiohttp", "yarl"}
    users = [each for each in all_imports() if each.target.partition(".")[0] in clients]
    assert users
    assert [str(each) for each in users if part_of(each.source) != "transport"] == []


def export_order(name: str) -> tuple[int, str]:
    """As ruff sorts `__all__` (RUF022): constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


@pytest.mark.parametrize("package", [name for name, path in module_files().items() if path.name == "__init__.py"])
def test_packages_export_what_they_say(package: str) -> None:
    tree = ast.parse(module_files()[package].read_text("utf-8"))
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [node for node in imports if is_ours(getattr(node, "module", None) or "")]
    assert len(lists) == (1 if ours else len(lists)), f"{package} re-exports without an __all__"
    module = importlib.import_module(package)
    for names in lists:
        assert list(names) == sorted(set(names), key=export_order)
        assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize(
    "start",
    ["import streamcrawl", "from streamcrawl.cli.main import main; main(['--help'])"],
    ids=["import", "help"],
)
def test_start_up_does_not_load_what_it_does_not_need(start: str) -> None:
    script = f"""
import sys
try:
    {start}
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *sorted(set({HEAVY!r}) & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"
