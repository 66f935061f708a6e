"""The rules for texts that a program can check; `make lint` runs this file.

Phrases that readers stumble over are in no text. No sentence of a page, and no sentence of a help
text, is longer than a reader takes in at once.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from zoolet.cli import main
from zoolet.shell import commands  # noqa: F401 -- fills the table of the shell's commands
from zoolet.shell.commands.registry import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = [
    source
    for folder in ("src", "tests", "benchmarks", "examples", "docs", "packaging", "release")
    for source in sorted((ROOT / folder).rglob("*"))
    if source.suffix in {".py", ".md"} and source != Path(__file__)
]

BANNED = {
    r"\bthe original\b": "Apache ZooKeeper",
    r"\bso many\b": "up to N, this number of",
    r"\bso long\b": "N ms, for this time",
    r"\banew\b": "again",
    r"\bcannot be had\b": "is not supported",
    r"\bgoes when\b": "is deleted when",
    r"\bNone there is\b": "None if",
    r"\bfor who\b(?! in\b)|\bof who\b": "for users who, of clients that",
}
"""Each phrase, and what to write."""
SENTENCE_WORDS = 35
"""Most words of a sentence, or of the part of one between colons or semicolons."""
HELP_WORDS = 25


def sentences(page: str) -> Iterator[str]:
    """Yield the sentences of a page, without its code; each cell of a table has its own."""
    page = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", page):
        lines = paragraph.split("\n")
        if any(line.startswith("|") for line in lines):
            blocks = [cell for line in lines for cell in line.split("|")]
        elif all(line.startswith(("    ", "\t")) for line in lines):
            continue
        else:
            blocks = re.split(r"\n(?=\s*(?:[-*]|\d+\.) )", paragraph)
        for block in blocks:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", block))
            yield from parts_of(text)


def parts_of(text: str) -> list[str]:
    """Return the sentences of a text without code, cut at colons and semicolons too."""
    return [" ".join(part.split()) for part in re.split(r"(?<=[.!?:;])\**\s+", text)]


def num_words(sentence: str) -> int:
    """Count the words of a sentence; a list of names is none."""
    if re.fullmatch(r"(\S+, )+\S+", sentence):
        return 1
    return len(re.findall(r"[A-Za-z0-9'][A-Za-z0-9',.-]*", sentence))


def help_texts(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield the help texts of a command and of all below it, with where each is shown."""
    yield name, command.help or ""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield f"{name} {parameter.opts[-1]}", parameter.help or ""
    if isinstance(command, click.Group):
        for below in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), below)
            assert found is not None
            yield from help_texts(found, f"{name} {below}")


def test_no_text_has_a_phrase_that_readers_stumble_over() -> None:
    found = [
        f"{source.relative_to(ROOT)}:{number}: {match[0]!r}; write: {instead}"
        for source in TEXTS
        for number, line in enumerate(source.read_text().split("\n"), 1)
        for phrase, instead in BANNED.items()
        if (match := re.search(phrase, line, re.IGNORECASE))
    ]
    assert found == []


def test_section_comments_have_one_style() -> None:
    sources = [source for source in TEXTS if source.suffix == ".py"]
    assert len(sources) > 100
    wrong = [
        f"{source.relative_to(ROOT)}: {line}; write: # --- Reading"
        for source in sources
        for line in source.read_text().split("\n")
        if re.match(r"\s*# -", line) and not re.fullmatch(r"\s*# --- [A-Z4`*].*[^-]", line)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sentences_of_pages_are_short(page: Path) -> None:
    found = sentences(page.read_text())
    assert [text for text in found if num_words(text) > SENTENCE_WORDS] == []


def test_sentences_of_help_texts_are_short() -> None:
    texts = [*help_texts(main, "zoolet")]
    for command in COMMANDS.values():
        texts.append((command.name, command.summary))
        texts += [(f"{command.name} -{option.name}", option.help) for option in command.options]
    assert len(texts) > 150
    found = [
        f"{where}: {part}"
        for where, text in texts
        for part in parts_of(text)
        if num_words(part) > HELP_WORDS
    ]
    assert found == []


def test_long_sentences_and_banned_phrases_are_found() -> None:
    page = "Short.\n\n- A `b c d` [e](f): g.\n\n| h i | j |\n| --- | --- |\n\n```\nk l m\n```\n"
    assert max(num_words(text) for text in sentences(page)) == 3
    assert num_words("It takes 1,000 ms, or less.") == 6
    assert re.search(r"\banew\b", "made Anew", re.IGNORECASE)


def test_every_text_is_looked_at() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no checkout")
    names = {ROOT / name for name in listed.stdout.split()} - {Path(__file__)}
    missing = names - {*TEXTS, *PAGES}
    assert {path.name for path in missing} <= {"CHANGELOG.md", "setup.py"}
