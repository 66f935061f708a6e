"""What clients do: steps that are pure data, and a generator of them from a seed.

A step names a client by its number and holds the very bytes that are sent, so that a sequence can
be played on any server, and with steps left out. Nothing in it depends on what a server answered.

What ends an Apache ZooKeeper is not asked for: createTTL with flags that want no TTL and a negative
one, text that is no quota in a quota's znode, a quota of the root. Nor is
what docs/compatibility.md lists as different on purpose.
"""

import random
from collections.abc import Callable, Iterator

from tests.support.differential.step_types import (
    RELEASE_3_9,
    Burst,
    Dialect,
    Reconnect,
    Request,
    Step,
)
from tests.support.differential.step_values import (
    BAD_PATHS,
    CREDENTIALS,
    IDENTITIES,
    NEW_IDENTITIES,
    PATHS,
    SYSTEM_PATHS,
)
from tests.support.rawclient import multi_body
from zoolet.model.acl import ACL, OPEN_ACL, READ_ONLY_ACL, AclList, Id
from zoolet.model.codes import CreateMode, OpCode, Permission, Xid
from zoolet.state_machine.access import digest_of
from zoolet.wire.jute import INT, LONG, pack_acl, pack_buffer, pack_ustring, pack_ustrings
from zoolet.wire.requests import WRITE_OP_CODES

CLIENTS = 4

_UNKNOWN_OP_CODES = (OpCode.CHECK, OpCode.NOTIFICATION, 10, 23, 99, 108, -1, -2, 2**31 - 1)


def generate(
    seed: int, count: int, dialect: Dialect = RELEASE_3_9, longest_burst: int = 8
) -> Iterator[Step]:
    """Yield steps with ``count`` requests in all; the same for the same seed."""
    generator = _Generator(random.Random(seed), dialect, longest_burst)
    made = 0
    while made < count:
        step = generator.step()
        made += len(step.requests) if isinstance(step, Burst) else 1
        yield step


class _Generator:
    """Makes requests about few paths, so that they often meet what earlier ones left."""

    def __init__(self, chance: random.Random, dialect: Dialect, longest_burst: int) -> None:
        self._chance = chance
        self._longest_burst = longest_burst
        self._dialect = dialect
        self._xids = [0] * CLIENTS
        self._not_spoiled: set[int] = {OpCode.PING, OpCode.WHO_AM_I}
        if not dialect.malformed_takes_no_zxid:
            self._not_spoiled |= WRITE_OP_CODES
        if not dialect.answers_malformed:
            self._not_spoiled |= WRITE_OP_CODES | {OpCode.RECONFIG}
        if not dialect.exists_checks_acl:
            self._not_spoiled |= {OpCode.EXISTS}
        if not dialect.tells_watches_apart:
            self._not_spoiled |= _ABOUT_WATCHES
        self._writes: list[tuple[int, Callable[[], tuple[int, bytes]]]] = [
            (20, self._create),
            (5, self._create_container),
            (6, self._create_ttl),
            (14, self._delete),
            (16, self._set_data),
        ]
        self._kinds = [
            *self._writes,
            (7, self._set_acl),
            (12, self._multi),
            (12, self._path_watch),
            (3, self._path_only),
            (3, self._multi_read),
            (5, self._add_watch),
            (3, self._watches_of),
            (4, self._set_watches),
            (2, self._bare),
            (1, self._quota),
        ]
        if dialect.knows_all_acls:
            self._kinds += [(1, self._with_null), (2, self._set_hidden_acl)]

    # --- Steps

    def step(self) -> Step:
        chance = self._chance
        client = chance.randrange(CLIENTS)
        kind = chance.random()
        if kind < 0.02:
            return self._reconnect(client)
        if kind < 0.035:
            return self._alone(client, *self._auth())
        if kind < 0.045:
            return self._alone(client, OpCode.CLOSE_SESSION, b"")
        if kind < 0.05:
            return self._alone(
                client, chance.choice(_UNKNOWN_OP_CODES[not self._dialect.refuses_check :]), b""
            )
        if kind < 0.07:
            return self._spoiled(client)
        length = min(chance.choice((1, 1, 1, 2, 3, 8)), self._longest_burst)
        requests: list[Request] = []
        # What follows a setACL in Apache's pipeline sees the old list or the new one, by chance.
        while len(requests) < length and not (requests and requests[-1].op_code == OpCode.SET_ACL):
            requests.append(self._numbered(client, *self._any()))
        return Burst(client, tuple(requests))

    def _reconnect(self, client: int) -> Reconnect:
        chance = self._chance
        return Reconnect(
            client,
            cuts_first=chance.random() < 0.5,
            forgets_session=chance.random() < 0.3,
            spoils_password=chance.random() < 0.1,
            last_zxid_offset=chance.choice((0, 0, 0, 0, -1, -5, 1000)),
            tail=chance.choice((b"\0", b"\0", b"\1", b"")),
        )

    def _alone(self, client: int, op_code: int, body: bytes) -> Burst:
        return Burst(client, (self._numbered(client, op_code, body),))

    def _numbered(self, client: int, op_code: int, body: bytes) -> Request:
        if op_code == OpCode.PING:
            return Request(Xid.PING, op_code, body)
        if op_code in {OpCode.SET_WATCHES, OpCode.SET_WATCHES2}:
            return Request(Xid.SET_WATCHES, op_code, body)
        if op_code == OpCode.AUTH:
            return Request(Xid.AUTH, op_code, body)
        self._xids[client] += 1
        return Request(self._xids[client], op_code, body)

    def _any(self) -> tuple[int, bytes]:
        return self._weighted(self._kinds)()

    def _weighted(
        self, kinds: list[tuple[int, Callable[[], tuple[int, bytes]]]]
    ) -> Callable[[], tuple[int, bytes]]:
        return self._chance.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]

    def _spoiled(self, client: int) -> Burst:
        """A request whose body is cut, changed or too long."""
        chance = self._chance
        op_code, body = self._any()
        while op_code in self._not_spoiled:
            op_code, body = self._any()
        kind = chance.random()
        if kind < 0.5:
            body = body[: chance.randrange(len(body) + 1)]
        elif kind < 0.7:
            body += chance.randbytes(chance.randrange(1, 9))
        elif body:
            position = chance.randrange(min(len(body), 12))
            changed = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            body = body[:position] + bytes([changed]) + body[position + 1 :]
        return self._alone(client, op_code, body)

    def samples(self) -> Iterator[tuple[int, bytes]]:
        """Yield a request of each kind that has a body that may be spoiled."""
        wanted = set(_SAMPLED) - self._not_spoiled
        while wanted:
            op_code, body = self._auth() if wanted <= _ALONE else self._any()
            if op_code in wanted and len(body) > 4:
                wanted.remove(op_code)
                yield op_code, body

    def alone(self, op_code: int, body: bytes) -> Burst:
        """Return a request on its own, of any client."""
        return self._alone(self._chance.randrange(CLIENTS), op_code, body)

    # --- What requests are made of

    def _path(self) -> str:
        chance = self._chance
        kind = chance.random()
        if kind < 0.85:
            path = chance.choice(PATHS)
            if path.endswith("-") and chance.random() < 0.5:
                path += f"{chance.randrange(4):010d}"
            return path
        if kind < 0.93:
            return chance.choice(SYSTEM_PATHS[not self._dialect.config_is_common :])
        if kind < 0.95:
            return "/"
        return chance.choice(BAD_PATHS)

    def _written_path(self) -> str:
        if not self._dialect.tells_watches_apart and self._chance.random() < 0.1:
            return self._chance.choice(list(_WATCHED_IN_ONE_WAY))
        return self._path()

    def _path_and_data(self) -> bytes:
        path = self._written_path()
        is_quota = path.endswith(("/zookeeper_limits", "/zookeeper_stats"))
        return pack_ustring(path) + pack_buffer(self._limits() if is_quota else self._data())

    def _limits(self) -> bytes:
        chance = self._chance
        limits = f"count={chance.randrange(-1, 6)},bytes={chance.randrange(-1, 60)}"
        if chance.random() < 0.5:
            hard_bytes, hard_count = chance.randrange(-1, 60), chance.randrange(-1, 6)
            limits += f"=;byteHardLimit={hard_bytes};countHardLimit={hard_count}"
        return chance.choice((limits, limits, limits, "", "bytes=1,count=1")).encode()

    def _data(self) -> bytes | None:
        chance = self._chance
        kind = chance.random()
        if kind < 0.1:
            return None
        if kind < 0.2:
            return b""
        if kind < 0.21:
            return bytes(100_000)
        return chance.randbytes(chance.randrange(1, 40))

    def _version(self) -> int:
        return self._chance.choice((-1, -1, -1, -1, 0, 0, 1, 2, 3, -2, 2**31 - 1))

    def _acl(self) -> AclList:
        chance = self._chance
        if chance.random() < 0.75:
            return OPEN_ACL
        if self._dialect.knows_all_acls and chance.random() < 0.02:
            return self._long_acl()
        return tuple(self._acl_entry() for _ in range(chance.choice((0, 1, 1, 2, 3))))

    def _long_acl(self) -> AclList:
        """Return a list within the limit of 1,000 entries, with repetitions."""
        chance = self._chance
        count = chance.choice((20, 200, 1000))
        return tuple(
            ACL(Permission.ALL, Id("ip", f"10.0.{chance.randrange(4)}.{chance.randrange(256)}"))
            for _ in range(count)
        )

    def _acl_entry(self) -> ACL:
        chance = self._chance
        if chance.random() < 0.1:
            return READ_ONLY_ACL[0]
        permissions = chance.choice((Permission.ALL, Permission.ALL, chance.randrange(64), -1, 0))
        more = NEW_IDENTITIES if self._dialect.knows_all_acls else ()
        return ACL(permissions, Id(*chance.choice((*IDENTITIES, *more))))

    def _flags(self) -> int:
        return self._chance.choices((0, 1, 2, 3, 4, 5, 6, 7, -1), (40, 12, 14, 6, 4, 2, 2, 1, 1))[0]

    # --- Requests

    def _create_body(self, flags: int) -> bytes:
        content = self._path_and_data()
        if content[INT.size :].startswith(b"/zookeeper/quota/") and flags in _EPHEMERAL_FLAGS:
            flags -= 1  # see `quota-of-a-session` in docs/compatibility.md
        return content + pack_acl(self._acl()) + INT.pack(flags)

    def _create(self) -> tuple[int, bytes]:
        op_code = self._chance.choice((OpCode.CREATE, OpCode.CREATE2))
        return op_code, self._create_body(self._flags())

    def _plain_create(self) -> tuple[int, bytes]:
        return OpCode.CREATE, self._create_body(self._chance.randrange(4))

    def _create_container(self) -> tuple[int, bytes]:
        flags = self._chance.choice((4, 4, 4, 4, self._flags()))
        return OpCode.CREATE_CONTAINER, self._create_body(flags)

    def _create_ttl(self) -> tuple[int, bytes]:
        chance = self._chance
        flags = chance.choice((5, 5, 6, self._flags()))
        ttls_ms = [10**9, 10**9, 0xFFFFFFFFFF, 0x10000000000, 0]
        if flags in {5, 6}:
            ttls_ms += [-1, -(2**63)]
        ttl_ms = chance.choice(ttls_ms)
        return OpCode.CREATE_TTL, self._create_body(flags) + LONG.pack(ttl_ms)

    def _delete(self) -> tuple[int, bytes]:
        return OpCode.DELETE, pack_ustring(self._written_path()) + INT.pack(self._version())

    def _set_data(self) -> tuple[int, bytes]:
        return OpCode.SET_DATA, self._path_and_data() + INT.pack(self._version())

    def _set_acl(self) -> tuple[int, bytes]:
        body = pack_ustring(self._path()) + pack_acl(self._acl()) + INT.pack(self._version())
        return OpCode.SET_ACL, body

    def _check(self) -> tuple[int, bytes]:
        return OpCode.CHECK, pack_ustring(self._path()) + INT.pack(self._version())

    def _multi(self) -> tuple[int, bytes]:
        chance = self._chance
        kinds = [*self._writes, (6, self._check)]
        if not self._dialect.reads_flags_in_multi:
            kinds = [(20, self._plain_create), (14, self._delete), (16, self._set_data)]
        parts: list[tuple[int, bytes]] = [
            self._weighted(kinds)() for _ in range(chance.choice((0, 1, 2, 2, 3, 5)))
        ]
        if chance.random() < 0.02 and self._dialect.reads_flags_in_multi:
            parts.append(self._any())
        return OpCode.MULTI, multi_body(parts)

    def _multi_read(self) -> tuple[int, bytes]:
        chance = self._chance
        parts: list[tuple[int, bytes]] = []
        for _ in range(chance.choice((0, 1, 2, 4))):
            op_code = chance.choice((OpCode.GET_DATA, OpCode.GET_CHILDREN))
            parts.append((op_code, pack_ustring(self._path()) + self._flag()))
        if parts and chance.random() < 0.05:
            parts.append(self._any())
        return OpCode.MULTI_READ, multi_body(parts)

    def _flag(self) -> bytes:
        return self._chance.choice((b"\0", b"\1"))

    def _path_watch(self) -> tuple[int, bytes]:
        op_code = self._chance.choice(
            (OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2)
        )
        if op_code == OpCode.EXISTS and not self._dialect.exists_checks_acl:
            op_code = OpCode.GET_DATA
        return op_code, pack_ustring(self._path()) + self._flag()

    def _path_only(self) -> tuple[int, bytes]:
        op_code = self._chance.choice(
            (
                OpCode.GET_ACL,
                OpCode.GET_ACL,
                OpCode.SYNC,
                OpCode.GET_ALL_CHILDREN_NUMBER,
                OpCode.GET_EPHEMERALS,
            )
        )
        return op_code, pack_ustring(self._path())

    def _add_watch(self) -> tuple[int, bytes]:
        if not self._dialect.tells_watches_apart:
            path, mode = self._chance.choice(list(_WATCHED_IN_ONE_WAY.items()))
            return OpCode.ADD_WATCH, pack_ustring(path) + INT.pack(mode)
        mode = self._chance.choice((0, 0, 1, 1, 1, 2, -1))
        return OpCode.ADD_WATCH, pack_ustring(self._path()) + INT.pack(mode)

    def _watches_of(self) -> tuple[int, bytes]:
        op_code = self._chance.choice((OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES))
        types: tuple[int, ...] = (1, 2, 3, 3, 4, 5, 0, 6)
        if not self._dialect.tells_watches_apart:
            op_code, types = OpCode.REMOVE_WATCHES, (3,)
        return op_code, pack_ustring(self._path()) + INT.pack(self._chance.choice(types))

    def _set_watches(self) -> tuple[int, bytes]:
        chance = self._chance
        op_code, vectors = chance.choice(((OpCode.SET_WATCHES, 3), (OpCode.SET_WATCHES2, 5)))
        body = LONG.pack(chance.choice((0, 50, 500, 2**62, -1)))
        for number in range(vectors):
            if number >= 3 and not self._dialect.tells_watches_apart:
                body += pack_ustrings([])
                continue
            body += pack_ustrings([self._path() for _ in range(chance.choice((0, 0, 1, 2)))])
        return op_code, body

    def _set_hidden_acl(self) -> tuple[int, bytes]:
        """Take READ from everybody, or from all but one user: no watch may tell of the znode."""
        chance = self._chance
        hidden = ACL(Permission.ALL & ~Permission.READ, Id("world", "anyone"))
        of_ann = ACL(Permission.READ, Id("digest", digest_of(b"ann:secret")))
        acl = (hidden, of_ann) if chance.random() < 0.5 else (hidden,)
        body = pack_ustring(self._path()) + pack_acl(acl) + INT.pack(-1)
        return OpCode.SET_ACL, body

    def _with_null(self) -> tuple[int, bytes]:
        """Return a request with null for a path, or for a scheme or an id of an ACL."""
        chance = self._chance
        null, path, data = pack_buffer(None), pack_ustring(self._path()), pack_buffer(b"x")
        version = INT.pack(-1)
        scheme, name = chance.choice(
            ((null, null), (null, pack_ustring("x")), (pack_ustring("world"), null))
        )
        acl = INT.pack(1) + INT.pack(31) + scheme + name
        return chance.choice(
            (
                (OpCode.CREATE, null + data + pack_acl(OPEN_ACL) + INT.pack(0)),
                (OpCode.CREATE, path + data + acl + INT.pack(0)),
                (OpCode.DELETE, null + version),
                (OpCode.SET_DATA, null + data + version),
                (OpCode.SET_ACL, null + pack_acl(OPEN_ACL) + version),
                (OpCode.SET_ACL, path + acl + version),
                (OpCode.SYNC, null),
                (OpCode.GET_DATA, null + b"\0"),
                (OpCode.EXISTS, null + b"\0"),
                (OpCode.GET_CHILDREN, null + b"\0"),
                (OpCode.GET_ACL, null),
            )
        )

    def _bare(self) -> tuple[int, bytes]:
        chance = self._chance
        op_code = chance.choice((OpCode.PING, OpCode.WHO_AM_I, OpCode.RECONFIG))
        if op_code != OpCode.RECONFIG:
            return op_code, b""
        servers = chance.choice(("server.2=127.0.0.1:2888:3888;2181", ""))
        body = pack_ustring(servers) + pack_ustring("") + pack_buffer(None) + LONG.pack(-1)
        return op_code, body

    def _quota(self) -> tuple[int, bytes]:
        """Make, change or remove a piece of a quota on /a or /a/b."""
        chance = self._chance
        path = chance.choice(("/zookeeper/quota/a", "/zookeeper/quota/a/b"))
        path += chance.choice(("", "/zookeeper_limits", "/zookeeper_limits", "/zookeeper_stats"))
        data = self._limits()
        kind = chance.random()
        if kind < 0.7:
            body = pack_ustring(path) + pack_buffer(data) + pack_acl(OPEN_ACL) + INT.pack(0)
            return OpCode.CREATE, body
        if kind < 0.9:
            return OpCode.SET_DATA, pack_ustring(path) + pack_buffer(data) + INT.pack(-1)
        return OpCode.DELETE, pack_ustring(path) + INT.pack(-1)

    def _auth(self) -> tuple[int, bytes]:
        scheme, credentials = self._chance.choice(CREDENTIALS)
        if self._chance.random() < 0.2:
            return OpCode.SASL, pack_buffer(credentials)
        return OpCode.AUTH, INT.pack(0) + pack_ustring(scheme) + pack_buffer(credentials)


_EPHEMERAL_FLAGS = frozenset({CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL})
"""One more than those of the same znode without a session."""

_ALONE = frozenset({OpCode.AUTH, OpCode.SASL})
"""What Apache answers beside its pipeline, so that its place among other replies is chance."""

_ABOUT_WATCHES = frozenset(
    {OpCode.ADD_WATCH, OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES, OpCode.SET_WATCHES2}
)

_SAMPLED = (
    WRITE_OP_CODES - {OpCode.CLOSE_SESSION}
    | _ALONE
    | {
        OpCode.EXISTS,
        OpCode.GET_DATA,
        OpCode.GET_CHILDREN,
        OpCode.GET_CHILDREN2,
        OpCode.GET_ACL,
        OpCode.SYNC,
        OpCode.GET_ALL_CHILDREN_NUMBER,
        OpCode.GET_EPHEMERALS,
        OpCode.ADD_WATCH,
        OpCode.CHECK_WATCHES,
        OpCode.REMOVE_WATCHES,
        OpCode.SET_WATCHES,
        OpCode.SET_WATCHES2,
        OpCode.MULTI_READ,
        OpCode.RECONFIG,
    }
)

_WATCHED_IN_ONE_WAY = {"/w": 1, "/w/a": 0, "/w/b": 1}
"""Paths that no request but addWatch watches, each with its mode."""


def malformed(seed: int, dialect: Dialect = RELEASE_3_9) -> Iterator[Step]:
    """Yield requests of each kind: cut at every position, and glued to the tail of another."""
    chance = random.Random(seed)
    generator = _Generator(chance, dialect, longest_burst=1)
    samples = list(generator.samples())
    for op_code, body in samples:
        for position in range(len(body)):
            yield generator.alone(op_code, body[:position])
    for op_code, body in samples:
        for _, other in samples:
            cut, taken_up = chance.randrange(len(body) + 1), chance.randrange(len(other) + 1)
            yield generator.alone(op_code, body[:cut] + other[taken_up:])
