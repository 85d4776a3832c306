"""What a wheel and a source distribution hold, and what an install makes importable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOP_LEVEL = {
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "docs",
    "examples",
    "operators",
    "pyproject.toml",
    "streamcrawl",
    "tests",
}
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""

pytestmark = pytest.mark.timeout(300)


def ignored() -> list[str]:
    """The patterns of .gitignore: what tools leave in a checkout."""
    lines = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    return [line.strip("/") for line in lines if line and not line.startswith("#")]


def packages_in(folder: Path, name: str) -> set[str]:
    """Dotted names of the packages in `folder`, which is the package `name`."""
    inits = [path.parent.relative_to(folder) for path in folder.rglob("__init__.py")]
    return {".".join((name, *path.parts)) for path in inits}


def files_in(*folders: str) -> set[str]:
    """The modules of the checkout as paths inside an install."""
    found: set[str] = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            relative = path.relative_to(ROOT).as_posix()
            found.add(f"streamcrawl/{relative}" if folder == "operators" else relative)
    return found


def test_the_list_of_packages_is_that_of_the_folders() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = packages_in(ROOT / "streamcrawl", "streamcrawl") | packages_in(
        ROOT / "operators", "streamcrawl.operators"
    )
    assert listed == sorted(folders)


def test_operators_is_reached_through_a_link_that_goes_anywhere() -> None:
    link = ROOT / "streamcrawl" / "operators"
    assert link.is_symlink()
    assert link.readlink() == Path("..", "operators")


def test_the_top_level_holds_nothing_else() -> None:
    patterns = ignored()
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert {name for name in names - TOP_LEVEL if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert TOP_LEVEL - names == set()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that the build backend runs with: they add a setuptools if ours is missing or too old."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        if int(version("setuptools").partition(".")[0]) >= 77:
            return environment
    except ModuleNotFoundError:
        pass
    folder = tmp_path_factory.mktemp("backend")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(folder),
    ]
    subprocess.run([*install, "setuptools>=77"], check=True, timeout=240)
    return {**environment, "PYTHONPATH": str(folder)}


def build(kind: str, source: Path, out: Path, backend: dict[str, str]) -> Path:
    """Call the build backend as pip does. `kind`: "build_wheel" or "build_sdist"."""
    command = [sys.executable, "-c", BUILD, kind, str(out)]
    done = subprocess.run(command, cwd=source, env=backend, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: building writes into the folder that it builds."""
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", *ignored()))
    return copy


@pytest.fixture(scope="module")
def sdist(checkout: Path, backend: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_sdist", checkout, tmp_path_factory.mktemp("sdist"), backend)


@pytest.fixture(scope="module", params=["checkout", "sdist"])
def wheel(
    request: pytest.FixtureRequest,
    checkout: Path,
    sdist: Path,
    backend: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The wheel, built straight from the checkout and by way of the source distribution."""
    source = checkout
    if request.param == "sdist":
        unpacked = tmp_path_factory.mktemp("unpacked")
        with tarfile.open(sdist) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            archive.extractall(unpacked)
        (source,) = unpacked.iterdir()
    return build("build_wheel", source, tmp_path_factory.mktemp("wheel"), backend)


def test_nothing_but_streamcrawl_lands_in_site_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}
    (info,) = top - {"streamcrawl"}
    assert info.startswith("streamcrawl-")
    assert info.endswith(".dist-info")


def test_the_wheel_holds_every_module_once_and_the_type_marker(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        links = [entry.filename for entry in archive.infolist() if (entry.external_attr >> 28) == 0o12]
    assert sorted(names) == sorted(files_in("streamcrawl", "operators") | {"streamcrawl/py.typed"})
    assert "streamcrawl/operators/download.py" in names
    assert links == []


def test_the_operators_can_be_imported_from_an_install(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = "import streamcrawl.operators as it, streamcrawl; print(it.__file__, streamcrawl.__version__, it.download)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    file, number, _ = done.stdout.split(" ", 2)
    assert Path(file).resolve() == (site / "streamcrawl" / "operators" / "__init__.py").resolve()
    assert f"-{number}-" in wheel.name


def test_the_source_distribution_holds_what_a_build_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        links = [entry.name for entry in archive.getmembers() if entry.issym() or entry.islnk()]
    operators = {path.relative_to(ROOT).as_posix() for path in (ROOT / "operators").rglob("*.py")}
    assert operators | {"LICENSE", "README.md", "pyproject.toml", "streamcrawl/py.typed"} <= names
    assert links == []
