"""The PostgreSQL 15 manual, served by nginx on loopback: real pages for the corpus crawl and the benchmarks.

It needs the Debian packages nginx-light and postgresql-doc-15. `STREAMCRAWL_MANUAL` names the folder of the
pages where they lie elsewhere, `STREAMCRAWL_NGINX` the nginx program.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

CONFIG = """\
daemon off;
master_process off;  # one process, of the user that started it
worker_processes 1;
pid {run}/pid;
error_log {run}/error.log;
events {{ worker_connections 1024; }}
http {{
    types {{ text/html html; text/css css; image/svg+xml svg; }}
    access_log off;
    keepalive_timeout 75s;
    keepalive_requests 1000000;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{ listen 127.0.0.1:{port}; root "{root}"; }}
}}
"""

XHTML = "{http://www.w3.org/1999/xhtml}"
HEADINGS = (XHTML + "h1", XHTML + "h2", XHTML + "h3")


class Page(NamedTuple):
    """What a crawl has to find on one page."""

    title: str | None
    headings: list[str]


def manual_root() -> Path:
    """The folder of the manual's pages. Raises: FileNotFoundError if it is not there, or not whole."""
    root = Path(os.environ.get("STREAMCRAWL_MANUAL") or "/usr/share/doc/postgresql-doc-15/html")
    if not (root / "index.html").is_file():
        raise FileNotFoundError(f"no index.html in {root}: install postgresql-doc-15, or set STREAMCRAWL_MANUAL")
    return root


def nginx_program() -> str:
    """The nginx program. Raises: FileNotFoundError."""
    wanted = os.environ.get("STREAMCRAWL_NGINX") or "nginx"
    found = shutil.which(wanted, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if found is None:
        raise FileNotFoundError(f"no program {wanted!r}: install nginx-light, or set STREAMCRAWL_NGINX")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def manual_site() -> Generator[str]:
    """Serve the manual while the block runs. Gives: the URL of its index.html."""
    program, root = nginx_program(), manual_root()
    with tempfile.TemporaryDirectory(prefix="manual-site-") as run:
        for _ in range(5):  # somebody may take the free port before nginx does
            port = free_port()
            config = Path(run, "nginx.conf")
            config.write_text(CONFIG.format(run=run, port=port, root=root))
            command = [program, "-e", f"{run}/error.log", "-p", run, "-c", str(config)]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                if _listening(server, port):
                    yield f"http://127.0.0.1:{port}/index.html"
                    return
            finally:
                server.terminate()
                server.wait(10)
        raise RuntimeError(f"nginx does not start: {Path(run, 'error.log').read_text().strip()}")


def _listening(server: subprocess.Popen[bytes], port: int, patience: float = 10.0) -> bool:
    """Wait until the server takes connections; False if it has ended."""
    deadline = time.monotonic() + patience
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True
    return False


def expected_pages(root: Path, start: str = "index.html") -> dict[str, Page]:
    """Every page that links lead to from `start`, by its path, read from the files.

    Made without the crawler: the standard library's strict XML parser and a breadth-first search over the folder.
    """
    pages: dict[str, Page] = {}
    queue = deque([start])
    seen = {start}
    while queue:
        path = queue.popleft()
        page = ElementTree.parse(root / path).getroot()
        pages[path] = Page(page.findtext(f".//{XHTML}title"), _headings(page))
        for link in page.iter(XHTML + "a"):
            target = _page_of(link.get("href"))
            if target is not None and target not in seen and (root / target).is_file():
                seen.add(target)
                queue.append(target)
    return pages


def _headings(page: ElementTree.Element) -> list[str]:
    """The text directly inside each heading, in document order, as `h1::text, h2::text, h3::text` selects it."""
    texts: list[str] = []
    for heading in (element for element in page.iter() if element.tag in HEADINGS):
        texts += [text for text in (heading.text, *(child.tail for child in heading)) if text]
    return texts


def _page_of(href: str | None) -> str | None:
    """The page of the manual that a link leads to (they lie in one folder); None if it leads elsewhere."""
    url = urlsplit(href or "#")
    if url.scheme or url.netloc or not url.path.endswith(".html"):
        return None
    return unquote(url.path) if "/" not in url.path else None
