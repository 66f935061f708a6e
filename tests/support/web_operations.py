"""Long operations of the web page in tests."""

from typing import Any
from urllib.parse import urlencode

from tests.support.waiting import wait_until
from tests.support.web import Browser


def ended(browser: Browser, page: str) -> dict[str, Any]:
    """Wait for the end of an operation; return its JSON."""
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        shown = browser.get(page)
        found.clear()
        found.update(shown.get("operation") or shown)
        return bool(found["state"] != "running")

    wait_until(has_ended, f"{page} has ended")
    return found


def run(browser: Browser, url: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Start an operation with a form, and wait for its end."""
    return ended(browser, browser.post(url, fields)["page"])


def url_of(page: str, **fields: Any) -> str:
    """Return the URL of a page of the cluster ``local`` with a query."""
    return f"/c/local/{page}?{urlencode(fields)}"


def transfer(browser: Browser, status: int = 200, **fields: Any) -> dict[str, Any]:
    """Start a copy or a move as its confirmation says; return its JSON at the end."""
    asked = browser.get(url_of("transfer", **fields))
    sent = {**fields, "czxid": asked["czxid"]}
    answer: dict[str, Any] = browser.post("/c/local/transfer", sent, status)
    return ended(browser, answer["page"]) if status == 200 else answer
