"""docs/operating.md and docs/compatibility.md have each four-letter word in their tables."""

import re
from collections import Counter
from pathlib import Path

import pytest

from zoolet.server.operator.four_letter_words import WORDS

DOCS = Path(__file__).parents[4] / "docs"


@pytest.mark.parametrize("page", ["operating.md", "compatibility.md"])
def test_the_page_has_each_word_once(page: str) -> None:
    section = (DOCS / page).read_text().split("\n## Four-letter words\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z, ]+) \|", section, re.MULTILINE)
    listed = Counter(word for row in rows[1:] for word in row.split(", "))  # without the head
    answered = Counter(word.decode() for word in WORDS)
    assert list(answered - listed) == [], f"docs/{page} lacks these words in its table"
    assert list(listed - answered) == [], f"docs/{page} lists these words too often"
