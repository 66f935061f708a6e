"""refresh.js in a real browser: what a user has done stays, and problems are reported.

The network is scripted: each request for a part gets the next answer of the test.
"""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until

SCRIPT = Path(__file__).parents[2] / "src/zoolet/web/static/refresh.js"
STYLE = SCRIPT.parent / "page.css"
URL = "http://127.0.0.1:9/"
PART = """<h2>Round {0}</h2><details><summary>More</summary><p>text {0}</p></details>
<div class="box" tabindex="0"><p>line {0}</p><p>line</p><p>line</p><p>line</p><p>line</p></div>
<input id="field" value="{0}"><p id="kept">unchanged</p><ul>{1}</ul>"""
ROW = '<li data-key="k{0}"><a href="#{0}">row {0}</a></li>'


def part_of(number: int) -> str:
    """Each round has a new row before the others, and has lost the last one."""
    rows = "".join(ROW.format(row) for row in range(number + 5, number, -1))
    return PART.format(number, rows)


class Answers:
    """The page and its part; ``problem`` is the answer that the part gets instead."""

    def __init__(self) -> None:
        self.number = 1
        self.problem: dict[str, Any] | None = None
        self.parts: list[str | None] = []

    def __call__(self, route: Any) -> None:
        name = route.request.headers.get("x-part")
        if route.request.url == URL:
            route.fulfill(content_type="text/html", body=self.page())
        elif route.request.url.endswith(".css"):
            route.fulfill(content_type="text/css", path=STYLE)
        elif self.problem is not None:
            self.parts.append(name)
            route.abort() if not self.problem else route.fulfill(**self.problem)
        else:
            self.parts.append(name)
            self.number += 1
            route.fulfill(content_type="text/html", body=part_of(self.number))

    def page(self) -> str:
        return (
            '<!DOCTYPE html><title>t</title><link rel="stylesheet" href="/page.css">'
            "<style>.box { height: 3rem; overflow: auto }</style>"
            "<button data-refresh-pause disabled>Pause updates</button>"
            '<span role="status" data-refresh-status></span>'
            '<div id="figures" data-refresh="/part" data-seconds="1">'
            f"{part_of(1)}</div>"
        )


@pytest.fixture
def answers(tab: Any) -> Answers:
    made = Answers()
    tab.route("**/*", made)
    tab.goto(URL)
    return made


def start(tab: Any) -> None:
    tab.add_script_tag(path=SCRIPT)


def test_what_the_user_has_done_stays(tab: Any, answers: Answers) -> None:
    tab.get_by_text("More").click()
    tab.locator("#field").fill("typed")
    tab.locator(".box").evaluate("box => { box.scrollTop = 20; }")
    tab.evaluate("getSelection().selectAllChildren(document.getElementById('kept'))")
    tab.get_by_role("link", name="row 4").focus()
    tab.evaluate("window.kept = document.querySelector('[data-key=k4]')")
    start(tab)
    tab.get_by_role("heading", name="Round 3").wait_for()
    assert answers.parts[:2] == ["figures", "figures"]
    assert tab.get_by_text("text 3").is_visible()
    assert tab.locator("#field").input_value() == "typed"
    assert tab.locator(".box").evaluate("box => box.scrollTop") == 20
    assert tab.evaluate("String(getSelection())") == "unchanged"
    assert tab.evaluate("document.activeElement.textContent") == "row 4"
    assert tab.evaluate("window.kept === document.querySelector('[data-key=k4]')")

    def shows_the_last_rows() -> bool:
        rows = tab.locator("li").all_inner_texts()
        last = answers.number  # the next part may be on its way
        return bool(rows == [f"row {row}" for row in range(last + 5, last, -1)])

    wait_until(shows_the_last_rows, "the rows of the last part")


def test_elements_without_a_key_stay_when_others_come_and_go(tab: Any, answers: Answers) -> None:
    first = '<p>one</p>\n<div class="box" tabindex="0">box</div><ul></ul>'
    tab.evaluate("html => { document.getElementById('figures').innerHTML = html; }", first)
    tab.locator(".box").focus()
    second = '<h2>new</h2><p>problem</p><p>two</p><div class="box" tabindex="0">box 2</div>'
    answers.problem = {"content_type": "text/html", "body": second}
    start(tab)
    tab.get_by_text("box 2").wait_for()
    assert tab.evaluate("document.activeElement.textContent") == "box 2"
    shown = tab.evaluate("[...document.getElementById('figures').children].map(e => e.outerHTML)")
    assert "".join(shown) == second
    answers.problem = {"content_type": "text/html", "body": first}
    tab.get_by_text("box", exact=True).wait_for()
    assert tab.evaluate("document.activeElement.textContent") == "box"


@pytest.mark.parametrize("seed", range(3))
def test_random_parts_become_what_the_server_sends(tab: Any, answers: Answers, seed: int) -> None:
    """A model: after each update, the elements are those of the answer, whatever came before."""
    rng = random.Random(seed)

    def some(depth: int) -> str:
        made = []
        keys = rng.sample(range(9), 9)
        for _ in range(rng.randrange(5)):
            key = f' data-key="{keys.pop()}"' if rng.random() < 0.5 else ""
            name = rng.choice(["p", "div", "ul"]) if depth else "p"
            inner = some(depth - 1) if depth and name != "p" else f"text {rng.randrange(9)}"
            made.append(f'<{name}{key} class="c{rng.randrange(3)}">{inner}</{name}>')
        return rng.choice(["", "\n"]).join(made)

    tab.clock.install()
    answers.problem = {"content_type": "text/html", "body": some(2)}
    start(tab)
    for number in range(40):
        body = f'{some(2)}<b id="end">end {number}</b>'  # no two bodies are equal
        answers.problem = {"content_type": "text/html", "body": body}
        tab.clock.run_for(1100)
        is_shown = """body => {
              const made = document.createElement('template');
              made.innerHTML = body.replaceAll('\\n', '');
              const shown = document.getElementById('figures').innerHTML.replaceAll('\\n', '');
              return shown === made.innerHTML;
            }"""

        def shows(wanted: str = body, script: str = is_shown) -> bool:
            return bool(tab.evaluate(script, wanted))

        wait_until(shows, "the part is shown")


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ({}, "does not answer"),
        ({"status": 503, "content_type": "text/html", "body": "<!DOCTYPE html>x"}, "error 503"),
        ({"status": 500, "content_type": "text/plain", "body": "<b>x</b>"}, "error 500"),
    ],
)
def test_a_page_that_does_not_answer_and_returns(
    tab: Any, answers: Answers, problem: dict[str, Any], text: str
) -> None:
    answers.problem = problem
    start(tab)
    status = tab.locator("[data-refresh-status]")
    status.get_by_text(text).wait_for()
    assert tab.get_by_role("heading", name="Round 1").is_visible()
    answers.problem = None
    tab.get_by_role("heading", name="Round 2").wait_for()
    wait_until(lambda: status.inner_text() == "", "the problem is not shown any more")


def test_it_ends_after_a_logout(tab: Any, answers: Answers) -> None:
    answers.problem = {"status": 401, "content_type": "application/json", "body": "{}"}
    start(tab)
    tab.get_by_text("The page asks for a login").wait_for()


def test_a_hidden_or_paused_page_asks_for_nothing(tab: Any, answers: Answers) -> None:
    tab.clock.install(time=0)
    tab.clock.pause_at(1)
    start(tab)
    tab.get_by_role("button", name="Pause updates").click()
    tab.get_by_text("Updates are paused.").wait_for()
    tab.clock.run_for(60_000)
    assert answers.parts == []
    tab.get_by_role("button", name="Pause updates").click()
    tab.get_by_role("heading", name="Round 2").wait_for()
    hide = """state => {
      Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    tab.evaluate(hide, "hidden")
    tab.clock.run_for(60_000)
    assert answers.number == 2
    tab.evaluate(hide, "visible")
    tab.get_by_role("heading", name="Round 3").wait_for()
