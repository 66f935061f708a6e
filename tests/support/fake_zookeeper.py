"""A ZooKeeper server for one client, without I/O: bytes in, bytes out.

It has a root znode and its children, sessions, logins and watches. It uses the server's half of
``wire``, so that it checks the client's half. It is simple and slow on purpose.
"""

from collections.abc import Iterable

from zoolet.model.codes import ErrorCode, EventType, OpCode, WatcherType, Xid
from zoolet.model.paths import name_of, parent_of
from zoolet.model.requests import Create, Delete, SetData, SetWatches
from zoolet.model.stat import Stat
from zoolet.wire import requests
from zoolet.wire.frames import decode_connect, encode_connected, encode_reply, frame_end
from zoolet.wire.jute import Reader, pack_buffer, pack_ustring, pack_ustrings
from zoolet.wire.replies import encode_event

CREATED, DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
CHANGED, CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED

Change = tuple[OpCode, str]
"""CREATE, SET_DATA or DELETE, and the path."""
KIND_OF_CHANGE = {OpCode.CREATE: CREATED, OpCode.SET_DATA: CHANGED, OpCode.DELETE: DELETED}


def stat_of(mzxid: int, version: int = 0, pzxid: int = 0, num_children: int = 0) -> Stat:
    """Return a Stat."""
    return Stat(mzxid, mzxid, 0, 0, version, 0, 0, 0, 0, num_children, pzxid)


def granted(
    session_id: int, *, timeout_ms: int = 9000, password: bytes = b"p" * 16, read_only: bool = False
) -> bytes:
    """Return the reply to a connect request."""
    frame = encode_connected(timeout_ms, session_id, password, has_read_only=True)
    return frame[:-1] + bytes([read_only])


EXPIRED = granted(0, timeout_ms=0, password=bytes(16))


def frames_of(data: bytes) -> list[bytes]:
    """Return the contents of the frames in ``data``, all of which are complete."""
    found, position = [], 0
    while position < len(data):
        end = frame_end(data, position, 1 << 30)
        assert end != -1
        found.append(data[position + 4 : end])
        position = end
    return found


class Node:
    """A znode."""

    def __init__(self, zxid: int) -> None:
        self.mzxid = zxid
        self.version = 0


class FakeZooKeeper:
    """The server.

    Attributes:
        root: the path of the parent of all other znodes.
        zxid: the zxid of the last txn.
        history: each change, as the event that its watchers get.
        sessions: the ids of the sessions that exist.
        seen: the xids of all calls that reached the server, in order.
        zxid_of_reply: the zxid in the reply to each call.
        connection: the last connection.
    """

    def __init__(self, root: str, first_zxid: int = 1) -> None:
        self.root = root
        self.zxid = first_zxid
        self.pzxid = 0
        self.nodes: dict[str, Node] = {}
        self.history: list[tuple[int, EventType, str]] = []
        self.sessions: set[int] = set()
        self.last_session = 0
        self.seen: list[int] = []
        self.zxid_of_reply: dict[int, int] = {}
        self.connection: Connection | None = None

    def connect(self) -> "Connection":
        """Open a connection, which replaces the one before."""
        self.connection = Connection(self)
        return self.connection

    def new_session(self) -> int:
        """Return the id of a new session."""
        self.last_session += 1
        self.sessions.add(self.last_session)
        return self.last_session

    def change(self, changes: Iterable[Change]) -> None:
        """Apply changes that are possible, as one txn, and send the events."""
        self.zxid += 1
        for op_code, path in changes:
            if (op_code is OpCode.CREATE) == (path in self.nodes):
                continue
            if op_code is OpCode.DELETE:
                del self.nodes[path]
            elif op_code is OpCode.CREATE:
                self.nodes[path] = Node(self.zxid)
            else:
                self.nodes[path].mzxid = self.zxid
                self.nodes[path].version += 1
            self._tell(KIND_OF_CHANGE[op_code], path)
            if op_code is not OpCode.SET_DATA:
                self.pzxid = self.zxid
                self._tell(CHILDREN, self.root)

    def _tell(self, event_type: EventType, path: str) -> None:
        self.history.append((self.zxid, event_type, path))
        if self.connection is not None:
            self.connection.tell(event_type, path, self.zxid)

    def stat(self, path: str) -> Stat | None:
        """Return the Stat of a znode."""
        if path == self.root:
            return stat_of(1, 0, self.pzxid, len(self.nodes))
        node = self.nodes.get(path)
        return None if node is None else stat_of(node.mzxid, node.version)


class Connection:
    """A connection, and the session on it.

    Attributes:
        out: the bytes for the client.
        logins: the credentials of the logins, in order.
        watches_set_zxid: the zxid at the last setWatches.
        is_closed: whether the server has closed the connection.
    """

    def __init__(self, server: FakeZooKeeper) -> None:
        self._server = server
        self._unread = b""
        self._session = 0
        self._is_primed = False
        self.out = b""
        self.logins: list[bytes] = []
        self.watches_set_zxid = 0
        self.is_closed = False
        self.data: set[str] = set()
        self.child: set[str] = set()
        self.persistent: set[str] = set()
        self.recursive: set[str] = set()

    def receive(self, data: bytes) -> None:
        """Process bytes of the client."""
        self._unread += data
        while not self.is_closed and (end := frame_end(self._unread, 0, 1 << 20)) != -1:
            frame, self._unread = self._unread[:end], self._unread[end:]
            if self._session:
                self._process(Reader(frame, 4))
            else:
                self._grant(frame)

    def _grant(self, frame: bytes) -> None:
        server = self._server
        connect = decode_connect(frame, 4, len(frame))
        assert connect.last_zxid_seen <= server.zxid
        if connect.session_id and connect.session_id not in server.sessions:
            self.out += EXPIRED
            self.is_closed = True
            return
        self._session = connect.session_id or server.new_session()
        self.out += granted(self._session)

    def _process(self, reader: Reader) -> None:
        xid, op_code = reader.read_int(), OpCode(reader.read_int())
        if op_code is OpCode.PING:
            self._reply(xid)
        elif op_code is OpCode.AUTH:
            auth = requests.decode_auth(reader)
            assert xid == Xid.AUTH
            self.logins.append(auth.auth or b"")
            self.is_closed = auth.auth == b"wrong"
            self._reply(xid, ErrorCode.AUTH_FAILED if self.is_closed else ErrorCode.OK)
        elif op_code in (OpCode.SET_WATCHES, OpCode.SET_WATCHES2):
            assert xid == Xid.SET_WATCHES
            assert not self._is_primed, "the watches are set after a call"
            is_second = op_code is OpCode.SET_WATCHES2
            decode = requests.decode_set_watches2 if is_second else requests.decode_set_watches
            self._set_watches(decode(reader))
            self._reply(xid)
        else:
            self._is_primed = True
            if xid:  # the session's own requests have xid 0
                self._server.seen.append(xid)
            err, body = self._answer(op_code, reader)
            self._server.zxid_of_reply[xid] = self._server.zxid
            self._reply(xid, err, body)

    def _reply(self, xid: int, err: ErrorCode = ErrorCode.OK, body: bytes = b"") -> None:
        self.out += encode_reply(xid, self._server.zxid, err, body)

    def _answer(self, op_code: OpCode, reader: Reader) -> tuple[ErrorCode, bytes]:
        """Process a call; return the error code and the body of its reply."""
        if op_code in (OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_CHILDREN2):
            return self._read(op_code, *requests.read_path_watch(reader))
        if op_code is OpCode.ADD_WATCH:
            add = requests.decode_add_watch(reader)
            (self.recursive if add.mode else self.persistent).add(add.path)
            return ErrorCode.OK, b""
        if op_code is OpCode.REMOVE_WATCHES:
            wanted = requests.decode_watches_of(reader)
            assert wanted.watcher_type is WatcherType.ANY
            tables = (self.data, self.child, self.persistent, self.recursive)
            found = [table for table in tables if wanted.path in table]
            for table in found:
                table.remove(wanted.path)
            return (ErrorCode.OK if found else ErrorCode.NO_WATCHER), b""
        request = requests.decode_write(op_code, reader)
        if op_code is OpCode.CLOSE_SESSION:
            self._server.sessions.discard(self._session)
            self.is_closed = True
            return ErrorCode.OK, b""
        assert isinstance(request, Create | SetData | Delete)
        return self._write(op_code, request.path)

    def _read(self, op_code: OpCode, path: str, watch: bool) -> tuple[ErrorCode, bytes]:
        stat = self._server.stat(path)
        if watch and (stat is not None or op_code is OpCode.EXISTS):
            (self.child if op_code is OpCode.GET_CHILDREN2 else self.data).add(path)
        if stat is None:
            return ErrorCode.NO_NODE, b""
        if op_code is OpCode.EXISTS:
            return ErrorCode.OK, stat.pack()
        if op_code is OpCode.GET_DATA:
            return ErrorCode.OK, pack_buffer(b"%d" % stat.version) + stat.pack()
        return ErrorCode.OK, pack_ustrings(map(name_of, self._server.nodes)) + stat.pack()

    def _write(self, op_code: OpCode, path: str) -> tuple[ErrorCode, bytes]:
        is_create = op_code is OpCode.CREATE2
        if is_create == (path in self._server.nodes):
            return (ErrorCode.NODE_EXISTS if is_create else ErrorCode.NO_NODE), b""
        self._server.change([(OpCode.CREATE if is_create else op_code, path)])
        stat = self._server.stat(path)
        if stat is None:
            return ErrorCode.OK, b""
        return ErrorCode.OK, (pack_ustring(path) if is_create else b"") + stat.pack()

    def _set_watches(self, wanted: SetWatches) -> None:
        """Set the watches, or send the events that they missed, as ``DataTree.setWatches``."""
        server, since = self._server, wanted.relative_zxid
        for path in wanted.data_watches:
            stat = server.stat(path)
            missed = DELETED if stat is None else CHANGED if stat.mzxid > since else None
            self._watch_or_tell(self.data, path, missed)
        for path in wanted.exist_watches:
            self._watch_or_tell(self.data, path, CREATED if path in server.nodes else None)
        for path in wanted.child_watches:
            stat = server.stat(path)
            missed = DELETED if stat is None else CHILDREN if stat.pzxid > since else None
            self._watch_or_tell(self.child, path, missed)
        self.persistent.update(wanted.persistent_watches)
        self.recursive.update(wanted.persistent_recursive_watches)
        self.watches_set_zxid = server.zxid

    def _watch_or_tell(self, table: set[str], path: str, missed: EventType | None) -> None:
        if missed is None:
            table.add(path)
        else:
            self.out += encode_event(missed, path, -1)

    def tell(self, event_type: EventType, path: str, zxid: int) -> None:
        """Send an event if the connection has a watch for it."""
        if self.is_closed:
            return
        is_watched = path in self.persistent
        tables = [self.child] if event_type is CHILDREN else [self.data]
        if event_type is DELETED:
            tables.append(self.child)
        for table in tables:
            if path in table:
                table.remove(path)
                is_watched = True
        if event_type is not CHILDREN:
            is_watched = is_watched or path in self.recursive or parent_of(path) in self.recursive
        if is_watched:
            self.out += encode_event(event_type, path, zxid)
