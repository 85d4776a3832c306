"""The HTTP cache: what may be stored and given out again, and where it is kept."""

from streamcrawl.caching.dbm_store import dbm_store
from streamcrawl.caching.entry import CorruptEntry, Entry, decode_entry, encode_entry
from streamcrawl.caching.fs_store import fs_store
from streamcrawl.caching.policy import CachePolicy, Replay
from streamcrawl.caching.rfc9111 import Rfc9111
from streamcrawl.caching.sqlite_store import sqlite_store
from streamcrawl.caching.store import CacheStore, MemoryStore, OpenCacheStore
from streamcrawl.caching.stored import CacheStoreError

__all__ = [
    "CachePolicy",
    "CacheStore",
    "CacheStoreError",
    "CorruptEntry",
    "Entry",
    "MemoryStore",
    "OpenCacheStore",
    "Replay",
    "Rfc9111",
    "dbm_store",
    "decode_entry",
    "encode_entry",
    "fs_store",
    "sqlite_store",
]
