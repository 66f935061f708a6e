"""The users of a running server: they are read again when a file with users changes.

The thread of the event loop asks for secrets; another thread may read the files at the same time.
"""

import logging

from zoolet.passwords.file_stamps import stamp_of
from zoolet.server.zoo_cfg.sasl_users import Secret, UsersError, UserSources

log = logging.getLogger(__name__)


class Users:
    """The users of DIGEST-MD5.

    Raises:
        UsersError: the users cannot be read.
    """

    def __init__(self, sources: UserSources) -> None:
        self._sources = sources
        self._stamp = stamp_of(sources.files)
        self._users = sources.read()

    def secret_of(self, name: str) -> Secret | None:
        """Return the password of a user, or the hash of it; None if the user does not exist."""
        return self._users.get(name)

    @property
    def is_empty(self) -> bool:
        """Whether there is no user."""
        return not self._users

    @property
    def has_files(self) -> bool:
        """Whether a file has users, so that users can change while the server runs."""
        return bool(self._sources.files)

    def look(self) -> None:
        """Read the users again if a file has changed; keep the users if it cannot be read."""
        stamp = stamp_of(self._sources.files)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            users = self._sources.read()
        except UsersError as error:
            log.error("the users of SASL stay as they are: %s", error)  # noqa: TRY400 -- no bug
            return
        self._users = users
        log.info("read the %d users of SASL again", len(users))
