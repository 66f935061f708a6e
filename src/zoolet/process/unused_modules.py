"""Leaves modules out of the process of a server without TLS, which does not use them.

asyncio and uvloop import them: ``ssl``, which loads OpenSSL, a seventh of the memory of a server
without znodes; and ``inspect``, of which they need four small functions
(docs/decisions/0116-server-without-openssl.md). asyncio also works on a Python without ``ssl``.
uvloop does not, but it uses ``ssl`` only for TLS.

Invariants: after `leave_out`, ``import ssl`` and ``import inspect`` import the real modules. This
module must not import asyncio.
"""

import contextlib
import importlib
import sys
from types import FunctionType, GeneratorType, ModuleType

_NUMBERS = "SSL_ERROR_"
_COROUTINE = 0x80  # inspect.CO_COROUTINE


class _Absent(ModuleType):
    """Stands for ``ssl`` while uvloop is imported: a class or number for each name."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0 if name.startswith(_NUMBERS) else type(name, (Exception,), {})


class _Small(ModuleType):
    """Stands for ``inspect`` in asyncio and uvloop; imports it when they use another function."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module("inspect"), name)

    def leave(self) -> None:
        """Let ``import inspect`` import the real module."""
        if sys.modules.get("inspect") is self:
            del sys.modules["inspect"]

    @staticmethod
    def isfunction(value: object) -> bool:
        return isinstance(value, FunctionType)

    @staticmethod
    def unwrap(function: object) -> object:
        """Return the function behind its decorators."""
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        return function

    @staticmethod
    def isgenerator(value: object) -> bool:
        return isinstance(value, GeneratorType)

    @staticmethod
    def iscoroutinefunction(function: object) -> bool:
        """Return whether a function or method is a coroutine function."""
        code = getattr(function, "__code__", None)
        return code is not None and bool(code.co_flags & _COROUTINE)


def leave_out() -> None:
    """Import asyncio and uvloop without these modules; from now on, they refuse to use TLS.

    Does nothing if asyncio, uvloop or ``ssl`` has been imported before.
    """
    if not sys.modules.keys().isdisjoint({"asyncio", "ssl", "uvloop"}):
        return
    small = _Small("inspect")
    sys.modules.setdefault("inspect", small)
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
        small.leave()
