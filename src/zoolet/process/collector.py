"""The settings of the garbage collector for programs, which call `configure` before large imports.

This module imports nothing of zoolet.
"""

import gc


def configure() -> None:
    """Let the garbage collector run rarely.

    Neither imports nor the processing of requests create reference cycles. The default thresholds
    would cost 7% of a server's startup time, and cause pauses later.
    """
    gc.set_threshold(50_000, 20, 100)
