"""Runs a program with the system calls and the memory rules of a unit of systemd, without systemd.

Usage: python sandbox.py NAME,NAME,... PROGRAM [ARGUMENT...]. The names are those of the allowed
system calls. All others fail with EPERM, and no memory is both writable and executable: the rules
of SystemCallFilter and MemoryDenyWriteExecute. Needs libseccomp.so.2, which systemd depends on.
"""

import ctypes
import errno
import os
import sys

_PR_SET_NO_NEW_PRIVS = 38
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_MASKED_EQUAL = 7
_PROT_ARGUMENT = 2
_WRITE, _EXECUTE = 2, 4


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def enter(names: list[str]) -> None:
    """Restrict this process and all that it becomes; raises OSError."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    )
    library.seccomp_load.argtypes = (ctypes.c_void_p,)
    rules = library.seccomp_init(_ERRNO | errno.EPERM)

    def allow(number: int, *without_bits: int) -> None:
        """Allow a call, or one in whose protection none of one of the given bits is set."""
        for bit in without_bits or (None,):
            comparison = _Comparison(_PROT_ARGUMENT, _MASKED_EQUAL, bit or 0, 0)
            count = 0 if bit is None else 1
            code = library.seccomp_rule_add_array(
                rules, _ALLOW, number, count, ctypes.byref(comparison)
            )
            if code:
                raise OSError(-code, "seccomp_rule_add")

    for name in names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # a system call of another architecture
            continue
        if name == "mmap":
            allow(number, _WRITE, _EXECUTE)
        elif name in {"mprotect", "pkey_mprotect"}:
            allow(number, _EXECUTE)
        else:
            allow(number)
    if ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if code := library.seccomp_load(rules):
        raise OSError(-code, "seccomp_load")


if __name__ == "__main__":
    enter(sys.argv[1].split(","))
    os.execv(sys.argv[2], sys.argv[2:])
