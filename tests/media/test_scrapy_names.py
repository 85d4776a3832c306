"""Every setting, hook and counter of Scrapy's media pipelines has its row in the documentation."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from re import findall

from streamcrawl import operators as ops
from streamcrawl.storage.ftp_store import OPTIONS

DOCS = Path(__file__).parent.parent.parent / "docs"
NAMES = """
IMAGES_STORE FILES_STORE IMAGES_URLS_FIELD IMAGES_RESULT_FIELD FILES_URLS_FIELD FILES_RESULT_FIELD IMAGES_EXPIRES
FILES_EXPIRES IMAGES_THUMBS IMAGES_MIN_WIDTH IMAGES_MIN_HEIGHT IMAGES_PRESERVE_FORMAT MEDIA_ALLOW_REDIRECTS
IMAGES_STORE_S3_ACL FILES_STORE_S3_ACL IMAGES_STORE_GCS_ACL FILES_STORE_GCS_ACL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
AWS_SESSION_TOKEN AWS_ENDPOINT_URL AWS_REGION_NAME AWS_USE_SSL AWS_VERIFY AWS_MAX_POOL_CONNECTIONS GCS_PROJECT_ID
FTP_USER FTP_PASSWORD FEED_STORAGE_FTP_ACTIVE get_media_requests file_path thumb_path media_to_download
media_downloaded media_failed file_downloaded image_downloaded get_images convert_image item_completed file_count
"""


def rows() -> dict[str, str]:
    """By name: what stands beside it."""
    lines = ((DOCS / "media.md").read_text("utf-8") + (DOCS / "stores.md").read_text("utf-8")).splitlines()
    cells = [line.split("|") for line in lines if line.startswith("|")]
    return {name: row[2] for row in cells for name in findall(r"`([A-Za-z_0-9]+)`", row[1])}


def test_every_name_has_its_row() -> None:
    assert sorted(set(NAMES.split()) - rows().keys()) == []


def test_the_arguments_that_are_named_are_there() -> None:
    known = {*signature(ops.files).parameters, *signature(ops.images).parameters, *OPTIONS, "info"}
    found = rows()
    named = {name: findall(r"`([a-z_]+)`", found[name]) for name in NAMES.split()}
    wrong = {name: [each for each in words if each not in known] for name, words in named.items()}
    assert {name: words for name, words in wrong.items() if words} == {}
