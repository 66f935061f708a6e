"""Writes that are applied exactly once, also if replies are lost or the session expires.

Made by `release.client_methods` from `asyncio_client/recipes/once.py`: change that module.
"""

import uuid
from typing import Final

from zoolet.client.thread_client.primitives import Deadline
from zoolet.client.thread_client.recipes.tools import Tools
from zoolet.client.errors import (
    BadVersionError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.batches import Multi
from zoolet.model import paths

ONCE: Final = "__once__"


class Once:
    """Writes of one recipe, whose markers are children of PATH-__once__."""

    def __init__(self, tools: Tools, path: str) -> None:
        self._tools = tools
        self._parent = f"{path}-{ONCE}"

    def apply(self, batch: Multi, deadline: Deadline) -> None:
        """Apply a multi exactly once; this adds the marker to it.

        Raises:
            DeadlineError: the time is over; the multi may have been applied.
            ConnectionLossError: the reply was lost, the session has expired, and the client asks
                for no other session; the multi may have been applied.
            ZooKeeperError: the multi failed, so it was not applied.
        """
        name = str(uuid.uuid4())
        marker = paths.join(self._parent, name)
        batch.create(marker)
        try:
            self._apply(batch, marker, deadline)
        except (NoNodeError, NodeExistsError, BadVersionError):
            raise
        except BaseException:
            self._tools.delete_soon(self._parent, name, "")
            raise
        self._delete(name, marker, deadline)

    def _apply(self, batch: Multi, marker: str, deadline: Deadline) -> None:
        while True:
            try:
                with deadline.of_call() as limit_s:
                    self._tools.client.multi(batch, timeout_s=limit_s)
            except SessionExpiredError:
                self._tools.wait_for_session(deadline)
            except ConnectionLossError:
                if self._exists(marker, deadline):
                    return
            except NoNodeError as error:
                if error.path != marker:
                    raise
                self._tools.ensure_path(self._parent, deadline)
            else:
                return

    def _exists(self, marker: str, deadline: Deadline) -> bool:
        """Return whether a multi was applied, after its reply was lost."""
        make = self._tools.make
        while True:
            try:
                self._tools.run(lambda: make.sync(self._parent), deadline)
                return self._tools.run(lambda: make.exists(marker), deadline) is not None
            except SessionExpiredError:
                # The server applies no request of a session after its end.
                try:
                    self._tools.wait_for_session(deadline)
                except SessionExpiredError as error:
                    raise ConnectionLossError("multi", marker) from error

    def _delete(self, name: str, marker: str, deadline: Deadline) -> None:
        try:
            self._tools.delete(marker, deadline)
        except ZooKeeperError:
            self._tools.delete_soon(self._parent, name, marker)  # the multi is applied in any case
        except BaseException:
            self._tools.delete_soon(self._parent, name, marker)
            raise
