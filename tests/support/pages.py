"""The code blocks of README.md and docs/, and how they are run.

Rules for the pages; a block that breaks one of them fails the test that reads the page:

- A code block is fenced. An indented block is refused, because it has no language.
- ``sh``: pasted into a shell, in the order of the page. It has no comments, because zsh, the shell
  of macOS, takes a pasted comment for arguments.
- any language, then a name (```` ```python late.py ````): the block is the content of this file.
- ``python`` without a name: a program of its own, run with python3.
- ``text`` is no code: drawings, formats, output. Below ``<!-- output -->``, each line has to be in
  the output of the shell block or program before it, in this order; ``...`` is any text.
- ``ini`` below ``<!-- part of zoo.cfg -->``: keys of zoo.cfg, which have to be valid.
- A block below ``<!-- not run: REASON -->`` is not run. These comments are directly above it.
- ``<!-- server -->`` anywhere: a server of the test runs at 127.0.0.1:2181 before the first block.
- ``<!-- apache -->`` anywhere: the script ``apache-zookeeper/bin/zkServer.sh`` exists before the
  first block; the page is skipped where Apache ZooKeeper is not installed.
- ``<!-- needs: PROGRAM -->`` anywhere: the page is skipped where this program is not installed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

SEPARATOR = "-- block of line "
"""Printed before each block that is run, with the number of its first line in the page."""

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>.*)$")
_OF_BLOCK = re.compile(
    r"^ *<!-- (?P<name>not run|output|part of zoo\.cfg)(?:: (?P<text>.*\S))? -->$"
)
_OF_PAGE = re.compile(
    r"^<!-- (?P<name>server|apache|needs)(?:: (?P<text>.*\S))? -->$", re.MULTILINE
)
_HERE_DOCUMENT = re.compile(r"<<'(\w+)'\n.*?^\1$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#\s", re.MULTILINE)
_LIST_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.) ")
_END_OF_FILE = "END OF FILE"


class PageError(Exception):
    """A page breaks one of the rules; the message has the page and the line."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: the line of its fence, counted from 1.
        language: the first word after the fence.
        file: the second word; "" if the block is no file.
        content: the lines of the block.
        mark: the name in the comment above it; "" if there is none.
    """

    line: int
    language: str
    file: str
    content: str
    mark: str

    @property
    def is_run(self) -> bool:
        """Whether the block is pasted, written to a file or run."""
        return self.language != "text" and not self.mark

    @property
    def problem(self) -> str | None:
        """What is wrong with the block; None if nothing is."""
        if self.is_run and not self.file and self.language not in {"sh", "python"}:
            return (
                f"a block of {self.language!r} without the name of a file is not run: add the name,"
                " or the comment <!-- not run: REASON --> above the block"
            )
        expected = {"output": "text", "part of zoo.cfg": "ini"}.get(self.mark)
        if expected is not None and self.language != expected:
            return f"below the comment {self.mark!r} has to be a block of {expected}"
        if self.language == "sh" and _COMMENT.search(_HERE_DOCUMENT.sub("", self.content)):
            return "a comment in a block for the shell: write it above the block"
        if self.mark == "not run" and self.language == "text":
            return "a text is never run: remove the comment"
        return None

    def script(self) -> str:
        """Return the shell commands that do what the page says."""
        if self.file:
            return f"cat >{self.file} <<'{_END_OF_FILE}'\n{self.content}{_END_OF_FILE}\n"
        if self.language == "python":
            return f"python3 - <<'{_END_OF_FILE}'\n{self.content}{_END_OF_FILE}\n"
        return self.content


@dataclass(frozen=True)
class Page:
    """A page, with its blocks in order."""

    path: Path
    blocks: tuple[Block, ...]
    needs_server: bool
    needs_apache: bool
    needed_programs: tuple[str, ...]

    @property
    def name(self) -> str:
        """The path from the root of the project."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def run_blocks(self) -> list[Block]:
        """The blocks that are run."""
        return [block for block in self.blocks if block.is_run]

    def script(self) -> str:
        """Return one shell script of all blocks that are run, in their order."""
        parts = (
            f"printf '%s\\n' '{SEPARATOR}{block.line}'\n{block.script()}"
            for block in self.run_blocks
        )
        return "set -eu\n" + "".join(parts)

    def wrong_outputs(self, output: str) -> Iterator[str]:
        """Yield, for each output in the page that ``output`` lacks, the block and the line."""
        by_line = _split(output)
        previous: Block | None = None
        for block in self.blocks:
            if block.mark == "output":
                if previous is None:
                    raise PageError(f"{self.name}:{block.line}: no block before this output is run")
                missing = missing_line(block.content, by_line.get(previous.line, ""))
                if missing is not None:
                    yield f"{self.name}:{block.line}: the output has no line {missing!r}"
            elif block.is_run and not block.file:
                previous = block


def _split(output: str) -> dict[int, str]:
    """Return the output of each block, by the line of the block."""
    parts = re.split(rf"^{SEPARATOR}(\d+)\n", output, flags=re.MULTILINE)
    return {int(line): text for line, text in zip(parts[1::2], parts[2::2], strict=True)}


def missing_line(expected: str, output: str) -> str | None:
    """Return the first line of ``expected`` that does not follow the lines before it."""
    lines = iter(output.splitlines())
    for wanted in expected.splitlines():
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.rstrip().split("...")))
        if not any(pattern.fullmatch(line.rstrip()) for line in lines):
            return wanted
    return None


def read_page(path: Path) -> Page:
    """Read a page and check the rules.

    Raises:
        PageError: a block breaks a rule.
    """
    blocks = tuple(_blocks(path))
    of_page = [(found["name"], found["text"]) for found in _OF_PAGE.finditer(path.read_text())]
    needed = tuple(text for name, text in of_page if name == "needs")
    return Page(path, blocks, ("server", None) in of_page, ("apache", None) in of_page, needed)


def _blocks(path: Path) -> Iterator[Block]:
    lines = path.read_text().splitlines()
    index, mark = 0, ""
    while index < len(lines):
        where = f"{path.relative_to(ROOT)}:{index + 1}"
        if comment := _OF_BLOCK.match(lines[index]):
            mark = comment["name"]
            if (mark == "not run") != bool(comment["text"]):
                raise PageError(f"{where}: a comment {mark!r} needs a reason, other comments none")
            if index + 1 == len(lines) or not _FENCE.match(lines[index + 1]):
                raise PageError(f"{where}: no code block is directly below the comment")
        elif fence := _FENCE.match(lines[index]):
            end = _end_of(lines, index, fence, where)
            words = fence["info"].split()
            if not words:
                raise PageError(f"{where}: no language; write text if the block is no code")
            # A directive of the site, such as {toctree}, is no code.
            language, file = ("text", "") if words[0].startswith("{") else (words[0], "")
            if language != "text" and len(words) > 1:
                file = words[1]
            content = "".join(
                f"{line.removeprefix(fence['indent'])}\n" for line in lines[index + 1 : end]
            )
            block = Block(index + 1, language, file, content, mark)
            if block.problem is not None:
                raise PageError(f"{where}: {block.problem}")
            yield block
            index, mark = end, ""
        elif _is_indented_block(lines, index):
            raise PageError(f"{where}: an indented code block; write a fenced one")
        index += 1


def _end_of(lines: list[str], start: int, fence: re.Match[str], where: str) -> int:
    for index in range(start + 1, len(lines)):
        if lines[index].strip() == fence["ticks"]:
            return index
    raise PageError(f"{where}: the code block has no end")


def _is_indented_block(lines: list[str], index: int) -> bool:
    """Say whether an indented code block begins at this line; lines of a list are none."""
    if not lines[index].startswith("    ") or (index and lines[index - 1].strip()):
        return False
    before = next((line for line in reversed(lines[:index]) if line.strip()), "")
    return not (_LIST_ITEM.match(before) or before.startswith("  "))
