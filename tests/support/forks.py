"""Functions in forked children."""

import os
import signal
from collections.abc import Callable

CHILD_LIMIT_S = 20


def in_child(function: Callable[[], object]) -> int:
    """Run a function in a forked child; return its exit status, 0 if it raised nothing."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(CHILD_LIMIT_S)  # ends a child that hangs
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
