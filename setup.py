"""Compile the modules that every request passes through, where mypyc and a C compiler are there.

The same sources run as they are where one of them is missing: slower, and otherwise the same.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

COMPILED = (
    "model/*.py",
    "wire/*.py",
    "core/*.py",
    "jobs/jobvalues.py",
    "storage/snapshots.py",
    "storage/txnlog.py",
    "server/connection.py",
    "server/encoding_steps.py",
    "server/groupcommit.py",
    "server/processor.py",
    "server/reads.py",
    "server/scheduler.py",
    "server/stats.py",
    "server/unsent.py",
)
NOT_COMPILED = {"addresses.py", "packed_python.py", "terminal.py"}


def compiled_modules() -> list[Extension]:
    """Return what is to be compiled; nothing where mypyc is missing, or not wanted."""
    if os.environ.get("ZOOLET_PURE_PYTHON"):
        return []
    try:
        from mypyc.build import mypycify  # noqa: PLC0415 -- it may be missing
    except ImportError:
        return []
    package = Path("src/zoolet")
    sources = [
        str(path)
        for pattern in COMPILED
        for path in sorted(package.glob(pattern))
        if path.name not in NOT_COMPILED
    ]
    options = ["--ignore-missing-imports", "--no-warn-unused-ignores"]
    extensions: list[Extension] = mypycify(
        options + sources, opt_level="3", debug_level="0", group_name="zoolet"
    )
    for extension in extensions:
        # Without a C compiler the installation goes on, and the sources are interpreted.
        extension.optional = True
    return extensions


if sys.implementation.name == "cpython":
    setup(ext_modules=compiled_modules())
else:
    setup()
