"""The marker beside the target: one mirror writes, and each of its multis is applied once.

Each multi of a mirror sets the marker's data to the number of the multi, if the marker has the
version that the mirror knows. So the marker shows whether a multi without a reply was applied. It
also has the zxid of the last multi, and another mirror that takes the marker stops this one. An
ephemeral below the marker shows that a mirror runs.

Imports ``model``, ``client``, the errors and other modules of its package.
"""

import asyncio
import json
import os
import socket
from typing import Final, NamedTuple

from zoolet.archive.errors import ArchiveError
from zoolet.archive.mirror.records.state_file import StateFile
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import BadVersionError, NodeExistsError, NoNodeError
from zoolet.client.protocol.batches import Multi
from zoolet.model import paths
from zoolet.model.acl import AclList
from zoolet.model.codes import CreateMode
from zoolet.model.stat import Stat

_OWNER: Final = "owner"
_PAUSE_S: Final = 0.5


class Marker(NamedTuple):
    """The content of the marker.

    Attributes:
        id: the id of the state file of the mirror that wrote it.
        number: the number of the last multi.
        stat: the marker's Stat; ``mzxid`` is the zxid of the last write.
    """

    id: str
    number: int
    stat: Stat


class Owner:
    """The right of one mirror to write to its target.

    Args:
        client: the client of the target.
        marker: the path of the marker.
        state: the state of the mirror.
        acl: the ACL of the marker.
    """

    def __init__(self, client: AsyncClient, marker: str, state: StateFile, acl: AclList) -> None:
        self._client = client
        self._path = marker
        self._state = state
        self._acl = acl
        self._version = 0
        self._session = 0

    async def take(self) -> None:
        """Become the only mirror of the target, and find out whether the last multi was applied.

        The state is forgotten if it does not describe the target: if another mirror has written to
        it, or if the target or the state file is older than the other one.

        Raises:
            ArchiveError: another mirror runs.
        """
        await self._client.ensure_path(paths.parent_of(self._path))
        while True:
            self._session = 0
            await self._create_owner()
            marker = await self._read()
            if marker is None:
                continue
            if marker.id != self._state.id or not self._settle(marker):
                self._state.forget_all(marker.number)
            try:
                await self._set(marker)
            except (BadVersionError, NoNodeError):
                continue
            return

    async def renew(self) -> bool:
        """Find out whether the last multi was applied, after its reply was lost.

        Returns False if the marker shows another state of the target: then `take` it again.

        Raises:
            ArchiveError: another mirror has taken the target.
        """
        while True:
            await self._create_owner()
            marker = await self._read()
            if marker is None:
                return False
            if marker.id != self._state.id:
                raise self._taken()
            if not self._settle(marker):
                return False
            try:
                # Afterwards, a multi that still comes to the server has the wrong version.
                await self._set(marker)
            except (BadVersionError, NoNodeError):
                continue
            return True

    async def keep(self) -> bool:
        """Create the ephemeral again if the client has another session; the result is `renew`'s."""
        return self._client.session_id.id == self._session or await self.renew()

    async def remove(self) -> None:
        """Delete the marker, because nothing is written to this target."""
        owner = paths.join(self._path, _OWNER)
        await self._client.multi(Multi().delete(owner).delete(self._path))

    def next_multi(self) -> Multi:
        """Return a multi that sets the marker; the mirror adds its writes."""
        return Multi().set(self._path, self._data(self._state.number + 1), version=self._version)

    def note(self, stat: Stat) -> None:
        """Note that the last multi was applied, and the marker's Stat."""
        self._version = stat.version

    async def explain_refusal(self) -> ArchiveError:
        """Return the error for a multi that the marker refused."""
        marker = await self._read()
        if marker is not None and marker.id != self._state.id:
            return self._taken()
        return ArchiveError(
            f"another client has changed or deleted {self._path}, the marker of this mirror: let"
            " nobody change it, and start the mirror again"
        )

    async def is_at(self, client: AsyncClient) -> bool:
        """Whether another client is connected to the servers that have the marker."""
        found = await client.exists(self._path)
        own = await self._client.exists(self._path)
        return found is not None and own is not None and found.czxid == own.czxid

    def _settle(self, marker: Marker) -> bool:
        """Note whether the last multi was applied; return whether its number fits."""
        if self._state.has_intents() and marker.number == self._state.number + 1:
            self._state.apply(marker.stat.mzxid)
        elif marker.number != self._state.number:
            return False
        else:
            self._state.forget_intents()
        self._state.commit()
        return True

    async def _read(self) -> Marker | None:
        try:
            data, stat = await self._client.get(self._path)
        except NoNodeError:
            return None
        content = _content(data)
        number = content.get("number")
        # JSON's true is an int in Python.
        if "id" not in content or type(number) is not int or number < 0:
            raise self._not_ours(self._path)
        return Marker(str(content["id"]), number, stat)

    async def _set(self, marker: Marker) -> None:
        data = self._data(self._state.number)
        stat = await self._client.set(self._path, data, version=marker.stat.version)
        self._version = stat.version

    async def _create_owner(self) -> None:
        """Create the ephemeral that shows that this mirror runs."""
        session = self._client.session_id.id
        if session == self._session:
            return
        data = json.dumps(
            {"id": self._state.id, "host": socket.gethostname(), "pid": os.getpid()}
        ).encode()
        path = paths.join(self._path, _OWNER)
        # The pauses together are longer than the session timeout of an owner that has ended.
        for _ in range(4 + int(self._client.session_timeout_ms / 1000 / _PAUSE_S)):
            try:
                await self._client.create(path, data, mode=CreateMode.EPHEMERAL, acl=self._acl)
            except NoNodeError:
                await self._create_marker()
                continue
            except NodeExistsError:
                if not await self._is_mine(path, session):
                    continue
            self._session = session
            return
        raise await self._runs(path)

    async def _create_marker(self) -> None:
        try:
            await self._client.create(self._path, self._data(self._state.number), acl=self._acl)
        except NodeExistsError:
            return
        # The target has no marker of an earlier run, so it is not the target of the state.
        self._state.forget_all(self._state.number)

    async def _is_mine(self, path: str, session: int) -> bool:
        """Return whether the ephemeral belongs to this session; delete it, or wait, if it does not.

        An earlier process with this state file has ended, because the file is locked. The end of
        other mirrors is not known: wait for the end of their sessions.
        """
        try:
            data, stat = await self._client.get(path)
            if stat.ephemeral_owner == session:
                return True
            if _content(data).get("id") == self._state.id:
                await self._client.delete(path)
                return False
        except NoNodeError:
            return False
        await asyncio.sleep(_PAUSE_S)
        return False

    async def _runs(self, path: str) -> ArchiveError:
        try:
            owner = _content((await self._client.get(path)).data)
        except NoNodeError:
            owner = {}
        else:
            if "id" not in owner:
                return self._not_ours(path)
        return ArchiveError(
            f"another mirror writes to this target (host {owner.get('host')}, process"
            f" {owner.get('pid')}): stop it first"
        )

    def _taken(self) -> ArchiveError:
        return ArchiveError(
            f"another mirror has taken this target (marker {self._path}): let only one of them run"
        )

    def _not_ours(self, path: str) -> ArchiveError:
        return ArchiveError(
            f"{path} in the target is not the marker of a mirror: delete it, or choose another"
            " target"
        )

    def _data(self, number: int) -> bytes:
        return json.dumps({"id": self._state.id, "number": number}).encode()


def _content(data: bytes | None) -> dict[str, object]:
    """Return the content of a znode of the marker; it is empty if no mirror has written it."""
    try:
        content = json.loads(data or b"")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
