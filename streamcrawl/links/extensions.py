"""File extensions of what is no page."""

from __future__ import annotations

KINDS: dict[str, str] = {
    "archives": "7z 7zip bz2 cab gz lz lzma rar tar tgz xz zip zst",
    "images": "ai avif bmp cdr drw dxf eps gif heic ico jpeg jpg jxl mng pct png ps psd psp pst svg tif tiff webp",
    "sound": "aac aif aiff au flac m4a mid midi mp3 oga ogg opus ra wav wma",
    "film": "3gp asf asx avi flv m4v mkv mov mp4 mpeg mpg ogv qt rm swf webm wmv",
    "texts": "doc docb docm docx dotm dotx odt pot potm potx rtf",
    "slides": "odg odp pps ppsx ppt pptm pptx",
    "tables": "ods xls xlsb xlsm xlsx xltm xltx",
    "books": "djvu epub mobi pdf",
    "programs": "apk bat bin cpl deb dll dmg exe hta img iso jar msi msp pkg py rb rpm sh wasm",
    "parts of pages": "css eot js otf rss ttf woff woff2",
}

IGNORED_EXTENSIONS: tuple[str, ...] = tuple(name for names in KINDS.values() for name in names.split())
"""What a `LinkExtractor` leaves out unless it is told otherwise."""
