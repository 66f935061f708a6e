r"""The lines of the audit log: in Apache ZooKeeper's format, and as JSON.

A line of Apache's format is ``TIME LEVEL audit.Slf4jAuditLogger:``, and then fields ``key=value``
with a tab between them. Source: ``AuditEvent``, ``AuditHelper``, ``AuthUtil.getUsers`` and
``ZKUtil.aclToString`` of Apache ZooKeeper, and its ``conf/logback.xml``.

Invariant: a record is one line, and a client's text is in one field. Control characters, line
separators, characters that change the direction of text, and backslashes are written as escapes
(``\n``, ``\x1b``, ``\u2028``, ``\\``). In a user name, a comma is one too, except in the subject of
a certificate. This module does no I/O.
"""

import json
import time
from typing import Final

from zoolet.model.acl import NULL_TEXT, AclList, Id
from zoolet.model.acl_texts import format_permissions
from zoolet.model.codes import ErrorCode
from zoolet.model.numbers import hex64
from zoolet.server.audit.records import FAILURE, AuditRecord
from zoolet.server.logs.logs import CONTROL_ESCAPES

_LOGGER: Final = "audit.Slf4jAuditLogger"
_ESCAPES: Final = CONTROL_ESCAPES | {ord("\\"): "\\\\"}
_IN_NAMES: Final = _ESCAPES | {ord(","): "\\x2c"}
_WITHOUT_NAMES: Final = frozenset({"super"})
"""Apache ZooKeeper has no provider of this scheme, so it shows no user for it."""


class ApacheFormat:
    """Formats records as Apache ZooKeeper does."""

    def __init__(self, server_user: str) -> None:
        """Create the format; ``server_user`` is the user in records of the server itself."""
        self._server_user = server_user.translate(_IN_NAMES)
        self._second = -1
        self._shown_second = ""

    def line(self, record: AuditRecord) -> str:
        """Return the line of a record, with its newline character."""
        fields = []
        if record.session_id:
            fields.append(f"session=0x{hex64(record.session_id)}")
        if user := self._users(record):
            fields.append(f"user={user}")
        if record.address:
            fields.append(f"ip={record.address.translate(_ESCAPES)}")
        fields.append(f"operation={record.operation}")
        if record.znode is not None and record.znode != NULL_TEXT:
            fields.append(f"znode={record.znode.translate(_ESCAPES)}")
        if record.znode_type:
            fields.append(f"znode_type={record.znode_type}")
        if record.acl is not None:
            fields.append(f"acl={_acl(record.acl)}")
        fields.append(f"result={record.result}")
        level = "ERROR" if record.result == FAILURE else "INFO"
        return f"{self._time(record.time_ms)} {level} {_LOGGER}: " + "\t".join(fields) + "\n"

    def _users(self, record: AuditRecord) -> str:
        if record.identities is None:
            return self._server_user
        return ",".join(
            name.translate(_ESCAPES if each.scheme == "x509" else _IN_NAMES)
            for each in record.identities.ids
            if (name := _name_of(each)).strip()
        )

    def _time(self, time_ms: int) -> str:
        """Return the local time, as Apache's ``%d{ISO8601}`` does."""
        second, rest_ms = divmod(time_ms, 1000)
        if second != self._second:
            self._second = second
            self._shown_second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._shown_second},{rest_ms:03}"


class JsonFormat:
    """Formats records as JSON objects, one a line."""

    def __init__(self, server_user: str) -> None:
        """Create the format; ``server_user`` is the user in records of the server itself."""
        self._server_user = server_user

    def line(self, record: AuditRecord) -> str:
        """Return the line of a record, with its newline character."""
        shown: dict[str, object] = {"time": _utc(record.time_ms)}
        if record.session_id:
            shown["session"] = f"0x{hex64(record.session_id)}"
        if record.identities is None:
            shown["user"] = self._server_user
        else:
            shown["users"] = [
                {"scheme": each.scheme, "name": name}
                for each in record.identities.ids
                if (name := _name_of(each)).strip()
            ]
        if record.address:
            shown["ip"] = record.address
        shown["operation"] = record.operation
        if record.znode is not None and record.znode != NULL_TEXT:
            shown["znode"] = record.znode
        if record.znode_type:
            shown["znode_type"] = record.znode_type
        if record.acl is not None:
            shown["acl"] = [
                {
                    "scheme": entry.id.scheme,
                    "id": entry.id.id,
                    "permissions": format_permissions(entry.perms),
                }
                for entry in record.acl
            ]
        shown["result"] = record.result
        if record.err:
            shown["error"] = _error(record.err)
        return json.dumps(shown) + "\n"


def _name_of(identity: Id) -> str:
    """Return the name of a user; "" if the identity has none."""
    scheme, name = identity
    if scheme in _WITHOUT_NAMES:
        return ""
    return name.partition(":")[0] if scheme == "digest" else name


def _acl(acl: AclList) -> str:
    """Return an ACL as in ``ZKUtil.aclToString``: there is nothing between two entries."""
    text = "".join(
        f"{entry.id.scheme}:{entry.id.id}:{format_permissions(entry.perms)}" for entry in acl
    )
    return text.translate(_ESCAPES)


def _utc(time_ms: int) -> str:
    second, rest_ms = divmod(time_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{rest_ms:03}Z"


def _error(err: int) -> str:
    try:
        return ErrorCode(err).name
    except ValueError:  # an observer's leader may have further codes
        return str(err)
