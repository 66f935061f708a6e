"""Compile the modules that process every request, if mypyc and a C compiler are available.

Otherwise the wheel contains only the sources and has the tag py3-none-any. They do the same, more
slowly. A compiler that is available must not fail: then the build stops.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup

LIST = Path(__file__).with_name("compiled.txt")
START_LIST = Path(__file__).with_name("start_functions.txt")

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

# The functions that run once, when a module is imported. The compiler puts them together, so that
# they are not in the same pages of memory as the functions that the server needs later.
RUN_ONCE = re.compile(
    r"^( *)(?=(?:static )?int CPyExec_\w+\(PyObject \*module\)$"
    r"|PyObject \*CPyInit\w+\(void\)$"
    r"|char CPyDef_\w+_____top_level__\(void\) \{)",
    re.MULTILINE,
)
COLD = "__attribute__((cold))"

# The definition of a function: its type, which may be on a line of its own, and its name. Those
# that a server without znodes uses are put together too: they are a tenth of the code, but the
# kernel maps 64 KiB around each page that is used (1.4 MB less memory).
DEFINITION = re.compile(
    r"^(?P<indent> *+)(?P<type>(?:static )?\w+[ \n*]++)(?P<name>\w+)(?=\([^;(){}]*\)\s*+\{)",
    re.MULTILINE,
)
AT_START = '__attribute__((section(".text.start")))'


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
    """Return C code of mypyc with two faults corrected, and with marks (RUN_ONCE).

    The faults (docs/decisions/0008-mypyc.md): it keeps an object for reuse before it has cleared
    it. Clearing may run any Python code, which may get the object, and then lose what it has put
    there. And it gives objects of acyclic classes to the trashcan, which writes into a header that
    only other objects have.
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
    return text if COLD in text else in_order(RUN_ONCE.sub(rf"\1{COLD} ", text))


def in_order(text: str) -> str:
    """Return C code in which the functions of START_LIST are marked, if the linker knows marks."""
    if sys.platform != "linux":
        return text
    wanted = frozenset(START_LIST.read_text().splitlines())

    def marked(definition: re.Match[str]) -> str:
        mark = f"{AT_START} " if definition["name"] in wanted else ""
        return f"{definition['indent']}{mark}{definition['type']}{definition['name']}"

    return DEFINITION.sub(marked, text)


def missing_tool() -> str | None:
    """Return the tool without which nothing can be compiled; None if all tools are available."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC")
    if not compiler:
        return "a C compiler"  # on Windows, where the server does not run either
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "probe.c"
        source.write_text("#include <Python.h>\n")
        include = sysconfig.get_path("include")
        command = [*shlex.split(compiler), "-c", "-I", include, source.name, "-o", "probe.o"]
        try:
            subprocess.run(command, cwd=directory, check=True, capture_output=True)
        except OSError:
            return f"the C compiler {compiler!r}"
        except subprocess.CalledProcessError:
            return "Python's header Python.h (Debian's package python3-dev)"
    return None


def can_compile() -> bool:
    """Return whether modules can and should be compiled; report a missing tool."""
    if os.environ.get("ZOOLET_PURE_PYTHON"):
        return False
    missing = missing_tool() if importlib.util.find_spec("mypyc") else "mypyc"
    if missing is not None:
        sys.stderr.write(f"zoolet: {missing} is missing, so this build is pure Python.\n")
    return missing is None


def of_mypyc() -> list[Extension]:
    """Return the extensions that mypyc makes of the modules in the list."""
    from mypyc.build import mypycify  # noqa: PLC0415 -- it may be missing

    options = ["--ignore-missing-imports", "--no-warn-unused-ignores"]
    # The job system has an extension of its own: a server would load its code in vain.
    groups: dict[str, list[str]] = {"zoolet": [], "zoolet_jobs": []}
    for source in compiled_sources(Path("src/zoolet")):
        groups["zoolet_jobs" if "jobs" in Path(source).parts else "zoolet"].append(source)
    extensions: list[Extension] = []
    for name, group in groups.items():
        extensions += mypycify(options + group, opt_level="3", debug_level="0", group_name=name)
    for source in {Path(source) for extension in extensions for source in extension.sources}:
        generated = source.read_text()
        text = corrected(generated)
        if text != generated:  # else it is not to be compiled again
            source.write_text(text)
    return extensions


def written_in_c() -> list[Extension]:
    """Return the extensions that are written in C (docs/decisions/0118, 0120, 0121, 0123-0125)."""
    names = ["state_machine.record_table"]
    if sys.platform == "linux":  # elsewhere: no event descriptor, another malloc, no MSG_NOSIGNAL
        names += ["process.arenas", "process.heap", "storage.writer_thread"]
        names += ["server.connections.socket_send", "server.connections.sending_thread"]
    sources = [Path("src/zoolet", *name.split(".")).with_suffix(".c") for name in names]
    return [
        Extension(
            f"zoolet.{name}", [str(source)], depends=list(map(str, source.parent.glob("*.h")))
        )
        for name, source in zip(names, sources, strict=True)
    ]


def compiled_modules() -> list[Extension]:
    """Return the modules to compile; none if this is impossible or not wanted."""
    extensions = [*of_mypyc(), *written_in_c()] if can_compile() else []
    for extension in extensions:
        # What is not exported is inlined, and called without a table: reads are 12% faster. No C++
        # exception passes through C, so the tables for one need not be in memory (0.2 MB). Debug
        # information would name the directory of the build, so two builds would differ.
        extension.extra_compile_args += [
            "-fvisibility=hidden",
            "-fno-asynchronous-unwind-tables",
            "-g0",
        ]
        # A module's own file is a page of code: a page for each of its four parts is 10 KB more.
        extension.extra_link_args += ["-Wl,-z,noseparate-code"] if sys.platform == "linux" else []
    return extensions


if sys.implementation.name == "cpython":
    setup(ext_modules=compiled_modules())
else:
    setup()
