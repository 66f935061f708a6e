"""The same run in a mount namespace that is like a bare, read-only container.

There is no /proc, no /etc/passwd, no program, no home directory and no writable directory besides
one; not even C code finds them there. The limit of descriptors is 256.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.platform.runs import Case, run_without

VARIABLES = dict.fromkeys(("HOME", "USER", "LOGNAME", "TMPDIR"))
PREPARE = """
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro /
mount --bind "$1/nobody" /etc/passwd
mount -t tmpfs -o ro none /proc
ulimit -n 256
export PATH=/missing
"""
SHELL = "/bin/sh"
TIMEOUT_S = 30


def wrapper(directory: Path, then: str) -> list[str]:
    """Return the beginning of a command line that runs in the namespace."""
    (directory / "nobody").touch()
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("a mount namespace needs unshare, of the package util-linux")
    return [unshare, "--mount", SHELL, "-c", PREPARE + then, SHELL, str(directory)]


def test_everything_works_in_a_bare_container(tmp_path: Path) -> None:
    probe = wrapper(tmp_path, "test ! -e /proc/self -a ! -w /etc")
    tried = subprocess.run(probe, capture_output=True, timeout=TIMEOUT_S, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this user may not make a read-only mount namespace: {tried.stderr.strip()}")
    run_without(Case((), VARIABLES), tmp_path, wrapper(tmp_path, 'shift; exec "$@"'))
