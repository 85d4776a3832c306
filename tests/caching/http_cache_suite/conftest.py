"""The public suite runs when it is asked for: `pytest -m http_cache_suite`, which .ci/run does."""

from __future__ import annotations

import pytest

MARK = "http_cache_suite"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARK}: the public suite of HTTP caches; needs Node and npm; runs with -m {MARK}"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if MARK in str(config.getoption("markexpr", "")):
        return
    left_out = [item for item in items if item.get_closest_marker(MARK) is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker(MARK) is None]
