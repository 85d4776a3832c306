"""What somebody sees who has made a mistake in a spider: one line that names it, the user's file and the line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl.testing.site import Site

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
Write = Callable[[str, str], Path]

HEAD = """\
from streamcrawl import *
from streamcrawl.loaders import MapCompose

class Mine(Spider):
    name = "mine"
    start_urls = ["{url}/1"]
"""

IN_CALLBACKS = {
    "css": (
        'response.css("h1::foo")',
        "ExpressionError: The pseudo-element ::foo is unknown (flow.py:8, in parse)",
    ),
    "xpath": ('response.xpath("//[")', "ValueError: XPath error: Invalid expression in //[ (flow.py:8, in parse)"),
    "processor": (
        "ItemLoader(response=response).get_css('h1::text', MapCompose(lambda text: text.nothing))",
        "(flow.py:8, in <lambda>)",
    ),
    "unknown field": (
        "response.request.replace(callbck=3)",
        "TypeError: Request has no field 'callbck'; did you mean 'callback'? (flow.py:8, in parse)",
    ),
    "unknown field, far from all": (
        "Request('http://a.test/', delays=3)",
        "TypeError: Request has no field 'delays'; its fields are url, method,",
    ),
    "unknown field of follow": (
        'response.follow("/2", formdata={"a": "b"})',
        "Request has no field 'formdata': there is streamcrawl.requests.formdata_request(…) (flow.py:8, in parse)",
    ),
    "unknown field of follow_all": (
        'response.follow_all(css="a", callbck=print)',
        "Request has no field 'callbck'; did you mean 'callback'? (flow.py:8, in parse)",
    ),
    "two callbacks": ('response.follow("/2", print, callback=print)', "one callback is given by position, or as"),
    "a key of Scrapy's in meta": (
        'response.meta["depth"]',
        "KeyError: 'depth': meta is yours alone; write response.request.depth (flow.py:8, in parse)",
    ),
    "a key of one's own in meta": ('response.meta["mine"]', "KeyError: 'mine' (flow.py:8, in parse)"),
    "a link that was not found": (
        "yield Request(response.css('b::text').get())",
        "the callback for {url}/1 yielded Request(None): a URL is text, and not NoneType (flow.py:8, in parse)",
    ),
    "no item": (
        "yield 5",
        "yielded 5 (int): an item is a dict, or a dataclass, attrs, pydantic or msgspec object (flow",
    ),
    "no URL": ('response.follow("http://[")', "it cannot be joined with its page's URL (flow.py:8, in parse)"),
}


@pytest.mark.parametrize("case", IN_CALLBACKS)
def test_in_a_callback(case: str, cli: Cli, write: Write, site: Site) -> None:
    code, line = IN_CALLBACKS[case]
    write("flow.py", f"{HEAD.format(url=site.url)}    def parse(self, response):\n        {code}\n")
    done = cli("run", "flow.py")
    assert done.returncode == 1
    (told,) = [each for each in done.stderr.splitlines() if " error " in each and "flow.py" in each]
    assert line.replace("{url}", site.url) in told
    assert "site-packages" not in done.stderr
    assert "Traceback" not in done.stderr


AT_THE_BEGINNING = {
    "start": (
        "    async def start(self):\n        yield Request('data:,')\n        raise OSError('the list is gone')",
        1,
        "error: the start of the crawl failed: OSError: the list is gone (flow.py:9, in start)",
    ),
    "init": (
        "    def __init__(self):\n        super().__init__()\n        1 / 0",
        2,
        "error: Mine() cannot be made: ZeroDivisionError: division by zero (flow.py:9, in __init__)",
    ),
    "a URL that is none": (
        "    def start_requests(self):\n        yield Request(5)",
        1,
        "error: the start of the crawl failed: TypeError: it gave Request(5): a URL is text",
    ),
    "no start_urls": ("    start_urls = []", 0, "the crawl's start gave nothing to ask for: Mine has no start_urls"),
    "statuses": (
        "    handle_httpstatus_list = 404",
        2,
        "error: flow.py: Mine.handle_httpstatus_list is 404: make it a list of numbers, [404]",
    ),
    "a URL as a domain": (
        "    allowed_domains = ['https://a.test/x']",
        2,
        "error: flow.py: Mine.allowed_domains: not a domain name: 'https://a.test/x' (write 'a.test')",
    ),
    "setting that is no number": (
        "    custom_settings = {'DOWNLOAD_DELAY': 'slow'}",
        2,
        "error: flow.py: Mine: the setting DOWNLOAD_DELAY is 'slow'; it must be a number of seconds, 0 or more",
    ),
    "settings that are no dict": (
        "    custom_settings = ['x']",
        2,
        "error: flow.py: Mine.custom_settings is ['x']: make it a dict",
    ),
    "setting misspelt": (
        "    custom_settings = {'DOWNLOAD_DELEY': 1}",
        0,
        "warning 'mine': there is no setting DOWNLOAD_DELEY; did you mean DOWNLOAD_DELAY?",
    ),
    "setting from elsewhere": (
        "    custom_settings = {'ROBOTSTXT_OBEY': False}",
        0,
        "ROBOTSTXT_OBEY does nothing here, write Crawl.of(…).replace(download=ops.download(*ops.default_layers(robots_",
    ),
    "attribute from elsewhere": (
        "    user_agent = 'me'",
        0,
        "the attribute user_agent does nothing here, write Crawl.of(…).replace(download=ops.download(fetch=Wire(user_",
    ),
    "rules": (
        "class Mine(CrawlSpider):\n    name = 'mine'\n    rules = 5",
        2,
        "error: Mine.rules is 5: make it a tuple of Rules",
    ),
    "rule of text": (
        "class Mine(CrawlSpider):\n    name = 'mine'\n    rules = [Rule('/item/')]",
        2,
        "error: flow.py: TypeError: a Rule looks for links with '/item/'; write Rule(LinkExtractor(allow='/item/'))",
    ),
    "no rules": (
        "class Mine(CrawlSpider):\n    name = 'mine'",
        2,
        "error: Mine has no rules, so no page is made anything of; to take them with parse(), subclass Spider",
    ),
    "syntax": ("def f(:", 2, "error: flow.py: SyntaxError: invalid syntax (flow.py:7)"),
    "import of a class of Scrapy's": (
        "from streamcrawl import FormRequest",
        2,
        "error: flow.py: ImportError: streamcrawl has no FormRequest; there is streamcrawl.requests.form_request",
    ),
    "import of a module of Scrapy's": (
        "from streamcrawl.exceptions import DropItem",
        2,
        "error: flow.py: ModuleNotFoundError: there is no module streamcrawl.exceptions; look in streamcrawl: Drop",
    ),
    "import of a module of Scrapy's pipelines": (
        "from streamcrawl.pipelines.images import ImagesPipeline",
        2,
        "there is no module streamcrawl.pipelines.images; look in streamcrawl.operators: images",
    ),
    "import of a downloader middleware of Scrapy's": (
        "from streamcrawl.downloadermiddlewares.retry import get_retry_request",
        2,
        "there is no module streamcrawl.downloadermiddlewares; look in streamcrawl.operators: retry",
    ),
    "import of another module": ("import nowhere", 2, "error: flow.py: ModuleNotFoundError: No module named 'nowhere'"),
}


@pytest.mark.parametrize("case", AT_THE_BEGINNING)
def test_at_the_beginning(case: str, cli: Cli, write: Write, site: Site) -> None:
    code, status, line = AT_THE_BEGINNING[case]
    parse = "" if code.startswith(("class", "def", "from", "import")) else "    def parse(self, response): pass\n"
    write("flow.py", f"{HEAD.format(url=site.url)}{code}\n{parse}")
    done = cli("run", "flow.py")
    assert done.returncode == status, done.stderr
    assert any(line in each for each in done.stderr.splitlines()), done.stderr
    assert "Traceback" not in done.stderr


def test_credentials_in_a_url_are_nowhere_shown(cli: Cli, write: Write, site: Site) -> None:
    url = site.url.replace("://", "://me:secret@")
    write(
        "flow.py",
        f"{HEAD.format(url=url)}    start_urls = ['{url}/1', '{url}/gone']\n"
        "    def parse(self, response):\n"
        "        yield {'path': response.url.rpartition('/')[2]}\n"
        "        yield response.follow('/2', 'nothing')\n"
        "        raise ValueError(response.url)\n",
    )
    for level in ("info", "debug"):
        done = cli("run", "flow.py", "-O", "-", "--log-level", level)
        assert (done.returncode, done.stdout) == (1, '{"path":"1"}\n')
        assert "secret" not in done.stderr
        assert f"the callback for {url.replace('me:secret', '***')}/1 raised ValueError: http://***@" in done.stderr
    done = cli("fetch", f"{url}/gone")
    assert (done.returncode, done.stderr.count("***@")) == (1, 1)
    assert "secret" not in done.stderr
    assert "secret" not in cli("fetch", "http://me:secret@127.0.0.1:1/").stderr


FROM_SCRAPY = """
from streamcrawl.spiders import CrawlSpider, Rule
from streamcrawl.linkextractors import LinkExtractor
from streamcrawl.loader import ItemLoader
from streamcrawl import Request

class Mine(CrawlSpider):
    name = "mine"
    custom_settings = {{"DOWNLOAD_DELAY": "0.0", "CONCURRENT_REQUESTS": "4", "CLOSESPIDER_PAGECOUNT": "0"}}
    handle_httpstatus_list = [404]
    rules = Rule(LinkExtractor("/2$"), callback="parse_two")

    @classmethod
    def update_settings(cls, settings):
        super().update_settings(settings)
        settings.set("MINE", "1", priority="spider")

    def start_requests(self):
        assert self.settings.getint("MINE") == 1 and self.settings.getbool("MINE")
        yield Request("{url}/1")
        yield Request("{url}/gone", self.parse_gone)

    def parse_two(self, response):
        loader = ItemLoader(response=response)
        loader.add_css("page", "h1::text")
        yield loader.load_item()
        yield response.follow("/3", self.parse_three, cb_kwargs={{"n": 3}})

    def parse_three(self, response, n):
        yield {{"page": response.css("h1::text").extract_first(), "n": response.cb_kwargs["n"]}}
        yield from response.follow_all(["/4"], self.parse_three, cb_kwargs={{"n": 4}})

    def parse_gone(self, response):
        yield {{"status": response.status}}
"""


def test_a_spider_as_scrapy_has_them_runs_as_it_is(cli: Cli, write: Write, site: Site) -> None:
    write("flow.py", FROM_SCRAPY.format(url=site.url))
    done = cli("run", "flow.py", "-O", "-")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        '{"page":"Page 3","n":3}',
        '{"page":"Page 4","n":4}',
        '{"page":["Page 2"]}',
        '{"status":404}',
    ]
    assert "warning" not in done.stderr


def test_a_redirect_that_the_spider_wants_to_see(cli: Cli, write: Write) -> None:
    from streamcrawl.testing.site import Answer, serve

    with serve(
        lambda arrival: Answer(status=301, headers=(("Location", "/2"),)) if arrival.path == "/1" else "two"
    ) as site:
        spider = f"{HEAD.format(url=site.url)}    def parse(self, response): yield {{'status': response.status}}\n"
        write("flow.py", spider)
        assert cli("run", "flow.py", "-O", "-").stdout == '{"status":200}\n'
        write("flow.py", spider.replace("    def", "    handle_httpstatus_all = True\n    def"))
        assert cli("run", "flow.py", "-O", "-").stdout == '{"status":301}\n'


MEANT = {
    "crawl": (("crawl", "shop"), "there is no command 'crawl'; `streamcrawl run shop.py` runs the spider in shop.py"),
    "rum": (("rum", "x.py"), "there is no command 'rum'; did you mean run?"),
    "nothing like it": (("xyz",), "there is no command 'xyz'; there are run, list, "),
    "a setting": (("run", "flow.py", "-s", "A=1"), "unrecognized arguments: -s A=1; custom_settings of the spider"),
    "an option": (("run", "flow.py", "--limitpages", "2"), "--limitpages 2; did you mean --limit-pages?"),
    "no .py": (("run", "flow"), "flow: no such file; did you mean flow.py?"),
}


@pytest.mark.parametrize("case", MEANT)
def test_a_command_that_is_not_there(case: str, cli: Cli, write: Write) -> None:
    arguments, line = MEANT[case]
    write("flow.py", "")
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert line in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) <= 2
