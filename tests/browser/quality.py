"""What every page must have: no violation of axe-core, a layout that stays, room on a small screen.

A browser test calls `check_quality` at its end. The layout shifts count from the load of the page
on, so they include those of parts that were fetched again meanwhile.
"""

from importlib import resources
from typing import Any

import pytest

from tests.browser.conftest import SMALL

MOST_SHIFT = 0.1
"""The most cumulative layout shift of a good page (https://web.dev/articles/cls)."""

_AXE_RUN = "() => axe.run(document, { resultTypes: ['violations'] })"
# The mark comes after all entries that the browser has kept. A shift is noticed when its frame is
# painted, so the script waits for two frames.
_SHIFTS = """() => new Promise((resolve) => {
  const nameOf = (node) => {
    const found = node && (node.outerHTML ? node : node.parentElement);
    return found ? found.outerHTML.slice(0, 80) : "?";
  };
  const shifts = [];
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (entry.entryType === "mark") resolve(shifts);
      else if (!entry.hadRecentInput) {
        shifts.push([entry.value, entry.sources.map(({ node }) => nameOf(node))]);
      }
    }
  });
  requestAnimationFrame(() => requestAnimationFrame(() => {
    observer.observe({ type: "layout-shift", buffered: true });
    observer.observe({ type: "mark" });
    setTimeout(() => performance.mark("all shifts are known"), 0);
  }));
})"""
_WIDE = """(width) => {
  if (document.documentElement.scrollWidth <= width) return [];
  const wide = [...document.querySelectorAll("body *")].filter(
    (found) => found.getBoundingClientRect().right > width + 0.5 && !found.closest(".scroll"));
  return ["the document", ...wide.map((found) => found.outerHTML.slice(0, 80))];
}"""


def check_quality(tab: Any) -> None:
    """Check the page that a tab shows, with both colour schemes and on a small screen.

    The size and the colour scheme of the tab are the same again at the end.
    """
    check_layout_shift(tab)
    check_looks(tab)


def check_looks(tab: Any) -> None:
    """Check the page as it is now: what `check_quality` checks, without the layout shifts.

    The colours and sizes of a page count when its styles are there.
    """
    tab.wait_for_load_state("load")
    size = tab.viewport_size
    tab.emulate_media(color_scheme="light")
    check_axe(tab)
    tab.set_viewport_size(SMALL)
    check_width(tab)
    tab.emulate_media(color_scheme="dark")
    check_axe(tab)
    tab.emulate_media(color_scheme="null")
    tab.set_viewport_size(size)


def check_axe(tab: Any) -> None:
    """Check the page with axe-core, which the package axe-playwright-python brings."""
    if not tab.evaluate("() => 'axe' in window"):
        pytest.importorskip(
            "axe_playwright_python", reason="needs the package axe-playwright-python"
        )
        axe = resources.files("axe_playwright_python").joinpath("axe.min.js")
        tab.evaluate(axe.read_text(encoding="utf-8"))
    problems = [
        f"{found['id']}: {found['help']}: {node['target']} {node['html'][:200]}"
        f" {node['failureSummary']}"
        for found in tab.evaluate(_AXE_RUN)["violations"]
        for node in found["nodes"]
    ]
    assert not problems, "\n".join([tab.url, *problems])


def check_layout_shift(tab: Any) -> None:
    """Check that the page has moved little since it was loaded, without an action of the user."""
    tab.wait_for_load_state("load")
    shifts = tab.evaluate(_SHIFTS)
    assert sum(value for value, _ in shifts) < MOST_SHIFT, f"{tab.url} moves: {shifts}"


def check_width(tab: Any) -> None:
    """Check that nothing is wider than the tab."""
    wide = tab.evaluate(_WIDE, tab.viewport_size["width"])
    assert not wide, "\n".join([f"{tab.url} is too wide:", *wide])
