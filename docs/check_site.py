"""Check the links of a built site: ``python docs/check_site.py build/docs``.

Every link and every image of a page that is not on another host has to lead to a file of the site,
and its anchor to an element of that page. Prints each link that does not, and ends with status 1.
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        for name, value in attrs:
            if value and name in {"href", "src"}:
                self.links.add(value)
            elif value and name in {"id", "name"}:
                self.anchors.add(value)


_read = cache(_Page)


def broken_links(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere."""
    found = []
    for path in sorted(site.rglob("*.html")):
        for link in sorted(_read(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{path.relative_to(site)}: {link}: there is no such file")
            elif (
                target.suffix == ".html"
                and parts.fragment
                and unquote(parts.fragment) not in _read(target).anchors
            ):
                found.append(f"{path.relative_to(site)}: {link}: the page has no such anchor")
    return found


def main() -> None:
    """Check the site that the argument names."""
    site = Path(sys.argv[1]).resolve()
    pages = list(site.rglob("*.html"))
    broken = broken_links(site)
    for line in broken:
        sys.stderr.write(f"{line}\n")
    if broken or not pages:
        sys.exit(f"{len(broken)} broken links in {len(pages)} pages")
    sys.stdout.write(f"{len(pages)} pages, no broken link\n")


if __name__ == "__main__":
    main()
