"""The counters of what goes over a run's connections."""

from __future__ import annotations

SENT, RECEIVED = "wire/bytes_sent", "wire/bytes_received"
"""Bytes of requests and answers, header fields and framing included; within TLS, not around it."""
