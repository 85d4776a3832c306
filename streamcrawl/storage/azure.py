"""Azure's blobs as a store, through adlfs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streamcrawl.storage.remote import Remote
from streamcrawl.storage.store import Place

RETRIES: dict[str, int] = {
    "retry_total": 4,
    "retry_connect": 2,
    "retry_read": 3,
    "retry_status": 4,
    "initial_backoff": 0,
    "increment_base": 2,
    "random_jitter_range": 1,
}
"""How often Azure's client tries again, and the seconds between: 2, 4, 8, 16. With its own settings it is a minute
and a half until one is told that nobody is at the address."""

SET = {
    "retry_total": "total_retries",
    "retry_connect": "connect_retries",
    "retry_read": "read_retries",
    "retry_status": "status_retries",
}
"""What the policy of Azure's client calls them once they are set; the others keep their names."""


class Azure(Remote):
    """Blobs of a container, below a prefix."""

    def _reached(self, place: Place) -> tuple[Any, str]:
        retries, storage = _told(place)
        files, root = super()._reached(replace(place, storage=storage))
        # adlfs hands the client's constructor no options.
        policy = files.service_client._config.retry_policy
        for name, value in retries.items():
            setattr(policy, SET.get(name, name), value)
        return files, root


def _told(place: Place) -> tuple[dict[str, int], dict[str, Any]]:
    """How often to try again, and what is left for adlfs. Raises: ValueError for a number that is none."""
    storage = dict(place.storage)
    own = {name: storage.pop(name) for name in RETRIES if name in storage}
    for name, value in own.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"storage={{{name!r}: {value!r}}}: a whole number, 0 or more")
    if own:
        storage.setdefault("skip_instance_cache", True)  # else it would be another store's too
    return {**RETRIES, **own}, storage
