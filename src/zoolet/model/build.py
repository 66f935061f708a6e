"""The build of zoolet: its version, and whether its performance-critical modules are compiled."""

from typing import Final

from zoolet import __version__
from zoolet.big_endian import buffers

KIND: Final = "compiled" if buffers.__file__.endswith(".so") else "pure Python"

DESCRIPTION: Final = f"{__version__} ({KIND})"
"""The description that ``zoolet --version`` and the first line of the log show."""
