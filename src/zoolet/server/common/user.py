"""Whose server it is.

Imports nothing of zoolet.
"""

import os


def user_name() -> str:
    """Return the name of this user; one without a name, as in some containers, has its number."""
    import getpass  # noqa: PLC0415 -- not for a server that runs

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
