"""Item loaders: an item's fields collected by CSS, XPath, JMESPath or value, and cleaned by processors.

The mechanism is that of the library `itemloaders`; here it takes a Response, and items of every kind.
"""

from __future__ import annotations

from typing import Any

import itemloaders
from itemloaders.processors import Compose, Identity, Join, MapCompose, SelectJmes, TakeFirst
from parsel import Selector

from streamcrawl.adapters import register
from streamcrawl.response import Response

__all__ = ["Compose", "Identity", "ItemLoader", "Join", "MapCompose", "SelectJmes", "TakeFirst"]

register()


class ItemLoader(itemloaders.ItemLoader):
    """Collects the values of an item's fields; `load_item()` gives the item.

    Args:
        item: The item to fill; None: a new one of `default_item_class`, by default a dict.
        selector: Where `add_css`, `add_xpath` and `add_jmes` look.
        response: They look in this page, if there is no selector. Processors find it as `loader_context["response"]`.
        parent: The loader that this one is nested in.
        context: For the processors.
    """

    def __init__(
        self,
        item: Any = None,
        selector: Any = None,
        response: Response | None = None,
        parent: itemloaders.ItemLoader | None = None,
        **context: Any,
    ) -> None:
        if selector is None and response is not None:
            selector = response.selector
        if response is not None:
            context["response"] = response
        chosen: Selector | None = selector
        super().__init__(item=item, selector=chosen, parent=parent, **context)
