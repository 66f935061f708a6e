"""The build of zoolet: its version, and whether its performance-critical modules are compiled."""

from typing import Final

from zoolet import __version__
from zoolet.binary import big_endian

KIND: Final = "compiled" if big_endian.__file__.endswith(".so") else "pure Python"

DESCRIPTION: Final = f"{__version__} ({KIND})"
"""The description that ``zoolet --version`` and the first line of the log show."""
