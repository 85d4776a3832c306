"""Which URIs mean files of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamcrawl.storage.paths import local_path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("items.jsonl", "items.jsonl"),
        ("./a b/items.jsonl", "a b/items.jsonl"),
        ("/a/items.jsonl", "/a/items.jsonl"),
        ("odd:name.jsonl", "odd:name.jsonl"),
        ("file:./images", "images"),
        ("file:images", "images"),
        ("file:/a/b", "/a/b"),
        ("file:///a/with%20space", "/a/with space"),
        ("FILE://localhost/a", "/a"),
        (Path("x") / "y", "x/y"),
    ],
)
def test_local(uri: str | Path, path: str) -> None:
    assert local_path(uri) == Path(path)


def test_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert local_path("~/items.jsonl") == Path("/home/ada/items.jsonl")


@pytest.mark.parametrize("uri", ["s3://bucket/a", "memory://a", "gs://b", "https://a.example/"])
def test_elsewhere(uri: str) -> None:
    assert local_path(uri) is None


@pytest.mark.parametrize("uri", ["", "file:", "file://", "file://other/a"])
def test_no_path(uri: str) -> None:
    with pytest.raises(ValueError, match=r"path"):
        local_path(uri)
