"""The crawl of a whole manual runs when it is asked for: `pytest -m corpus`, which .ci/run does."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "corpus: needs nginx and the PostgreSQL manual; runs with -m corpus")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "corpus" in str(config.getoption("markexpr", "")):
        return
    left_out = [item for item in items if item.get_closest_marker("corpus") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("corpus") is None]
