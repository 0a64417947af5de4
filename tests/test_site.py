"""The site: it builds without a warning, its links lead somewhere, and what is public is on it."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from gmlayers import convert, diagnostics, flows, functional, nn, ops, plot, solve

ROOT = Path(__file__).parents[1]
PACKAGES = (convert, diagnostics, flows, functional, nn, ops, plot, solve)

pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").exists(), reason="no part of the source distribution")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


class Page(HTMLParser):
    """The links of a page, what it shows, and the places in it that links may lead to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.pictures, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img" and given.get("src"):
            self.pictures.append(given["src"])


def test_every_link_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 20
    for path, page in pages.items():
        for link in {*page.links, *page.pictures}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages and parts.fragment != "__skip":
                assert unquote(parts.fragment) in pages[target].ids, f"{path.relative_to(site)}: {link}"


def test_what_is_public_is_in_the_reference(site):
    for package in PACKAGES:
        name = package.__name__.rpartition(".")[2]
        page = Page(site / "reference" / name / "index.html")
        public = {key for key, value in vars(package).items() if not key.startswith("_") and callable(value)}
        assert {f"{package.__name__}.{key}" for key in public} <= page.ids


def test_the_gallery_has_twelve_pictures(site):
    page = Page(site / "gallery" / "index.html")
    assert len(page.pictures) == 12
    for picture in page.pictures:
        assert (site / "gallery" / picture).resolve().stat().st_size > 5000


def test_no_role_of_sphinx_and_no_latex_is_left(site):
    for path in (site / "reference").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r":(func|class|math|meth|mod):`|\.\. math::", text), path
        assert "arithmatex" not in text, path


def test_search_finds_names(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    titles = {entry["title"] for entry in index["docs"]}
    assert any("approximate" in title for title in titles)
    assert any("re-entrant corner" in title for title in titles)
