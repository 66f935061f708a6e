"""Leaves OpenSSL out of a process that uses no TLS.

asyncio and uvloop import Python's module ``ssl``, which loads OpenSSL: a seventh of the memory of a
server without znodes (docs/decisions/0116-server-without-openssl.md). asyncio also works on a
Python without ``ssl``. uvloop does not, but it uses ``ssl`` only for TLS.

Invariants: after `leave_out`, ``import ssl`` imports the real module. This module must not import
asyncio.
"""

import contextlib
import importlib
import sys
from types import ModuleType

_NUMBERS = "SSL_ERROR_"


class _Absent(ModuleType):
    """Stands for ``ssl`` while uvloop is imported: a class or number for each name."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0 if name.startswith(_NUMBERS) else type(name, (Exception,), {})


def leave_out() -> None:
    """Import asyncio and uvloop without OpenSSL; from now on, they refuse to use TLS.

    Does nothing if one of the modules has been imported before.
    """
    if not sys.modules.keys().isdisjoint({"asyncio", "ssl", "uvloop"}):
        return
    try:
        # With None, the import raises ImportError.
        sys.modules["ssl"] = None  # type: ignore[assignment]
        importlib.import_module("asyncio")
        sys.modules["ssl"] = _Absent("ssl")
        # An ImportError: uvloop is not available on every Python. Another error: this version of
        # uvloop needs more of ssl. In both cases, the caller decides when it imports uvloop again.
        with contextlib.suppress(Exception):
            importlib.import_module("uvloop")
    finally:
        del sys.modules["ssl"]
