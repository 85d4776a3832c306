"""What an errback is called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def taken(errback: Callable[..., Any], cb_kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the request's `cb_kwargs` that the errback takes: Scrapy's take none, and find them in the request."""
    try:
        parameters = list(inspect.signature(errback).parameters.values())
    except (TypeError, ValueError):  # written in C, and it does not say
        return cb_kwargs
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return cb_kwargs
    names = {each.name for each in parameters[1:] if each.kind in NAMED}
    return {name: value for name, value in cb_kwargs.items() if name in names}
