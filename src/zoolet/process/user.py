"""The name of the user that runs the server. This module imports no other module of zoolet."""

import os


def user_name() -> str:
    """Return the name of this user, or its number if it has no name (in some containers)."""
    import getpass  # noqa: PLC0415 -- not needed while the server runs

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
