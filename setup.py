"""Compile the modules that every request passes through, where mypyc and a C compiler are there.

The same sources run as they are where one of them is missing: slower, and otherwise the same.
"""

import os
import re
import sys
from pathlib import Path

from setuptools import Extension, setup

LIST = Path(__file__).with_name("compiled.txt")

# How mypyc 2.4.1 writes the destruction of an object, and its keeping of one object for reuse.
DEALLOC = re.compile(r"\b\w+_dealloc\(\w+ \*self\)\n *\{\n.*?\n *done: ;\n", re.DOTALL)
REUSE = re.compile(
    r"if \((\w+_free_instance) == NULL\) \{\n *\1 = self;\n(?P<clear>.*?) *return;\n *\}\n",
    re.DOTALL,
)
# While one object is cleared, others of its class are destroyed the usual way: a long chain of them
# would be a deep recursion.
CLEAR_AND_KEEP = r"""static CPyThreadLocal int is_clearing;
if (\1 == NULL && !is_clearing) {
is_clearing = 1;
\g<clear>is_clearing = 0;
if (\1 == NULL) {
\1 = self;
return;
}
}
"""


def compiled_sources(package: Path) -> list[str]:
    """Return the sources that the list names, in a fixed order."""
    wanted: set[Path] = set()
    for line in LIST.read_text().splitlines():
        pattern = line.strip()
        if pattern.startswith("!"):
            wanted -= set(package.glob(pattern[1:]))
        elif pattern and not pattern.startswith("#"):
            wanted |= set(package.glob(pattern))
    return sorted(map(str, wanted))


def corrected(generated: str) -> str:
    """Return C code of mypyc with two faults corrected (docs/decisions/0008-mypyc.md).

    It keeps an object for reuse before it has cleared it. Clearing may run any Python code, which
    may get the object, and then lose what it has put there. And it gives objects of acyclic
    classes to the trashcan, which writes into a header that only other objects have.
    """

    def dealloc(function: re.Match[str]) -> str:
        text = REUSE.sub(CLEAR_AND_KEEP, function[0])
        if "PyObject_GC_UnTrack(self)" not in text:
            text = re.sub(r" *CPy_TRASHCAN_.*\n", "", text)
        return text

    kept = generated.count("_free_instance = self;")
    text = DEALLOC.sub(dealloc, generated)
    if text.count("int is_clearing;") != kept:
        raise SystemExit(
            "mypyc writes other C code than setup.py corrects: use the mypy of pyproject.toml."
        )
    return text


def compiled_modules() -> list[Extension]:
    """Return what is to be compiled; nothing where mypyc is missing, or not wanted."""
    if os.environ.get("ZOOLET_PURE_PYTHON"):
        return []
    try:
        from mypyc.build import mypycify  # noqa: PLC0415 -- it may be missing
    except ImportError:
        return []
    options = ["--ignore-missing-imports", "--no-warn-unused-ignores"]
    sources = compiled_sources(Path("src/zoolet"))
    # The job system has an extension of its own: a server would load its code in vain.
    groups: dict[str, list[str]] = {"zoolet": [], "zoolet_jobs": []}
    for source in sources:
        groups["zoolet_jobs" if "jobs" in Path(source).parts else "zoolet"].append(source)
    extensions: list[Extension] = []
    for name, group in groups.items():
        extensions += mypycify(options + group, opt_level="3", debug_level="0", group_name=name)
    for source in {Path(source) for extension in extensions for source in extension.sources}:
        generated = source.read_text()
        text = corrected(generated)
        if text != generated:  # else it is not to be compiled again
            source.write_text(text)
    for extension in extensions:
        # What is not exported is inlined, and called without a table: reads are 12% faster. No C++
        # exception passes through C, so the tables for one need not be in memory (0.2 MB).
        extension.extra_compile_args += (
            [] if os.name == "nt" else ["-fvisibility=hidden", "-fno-asynchronous-unwind-tables"]
        )
        # A module's own file is a page of code: a page for each of its four parts is 10 KB more.
        extension.extra_link_args += ["-Wl,-z,noseparate-code"] if sys.platform == "linux" else []
        # Without a C compiler the installation goes on, and the sources are interpreted.
        extension.optional = True
    return extensions


if sys.implementation.name == "cpython":
    setup(ext_modules=compiled_modules())
else:
    setup()
