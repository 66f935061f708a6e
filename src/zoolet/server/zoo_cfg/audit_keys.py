"""The keys of zoo.cfg about the audit log.

Source: the administrator's guide of ZooKeeper 3.9, "ZooKeeper Audit Logging".
"""

from typing import Final

from zoolet.server.zoo_cfg.key import Flag, Number, Text
from zoolet.server.zoo_cfg.key_rows import own_key, property_key

AUDIT: Final = (
    property_key(
        "audit.enable",
        Flag(False),
        "write an audit log, see [operating.md](operating.md#audit-log)",
        "zoolet writes a file of its own; Apache writes where logback.xml says",
    ),
    property_key(
        "audit.impl.class",
        Text("class"),
        "the class that writes the audit log",
        "zoolet accepts only Apache's own classes, and refuses other classes",
    ),
)

OWN_AUDIT: Final = (
    own_key(
        "zoolet.audit.file",
        Text("file"),
        "the audit log; if it is not set, `zookeeper_audit.log` in `dataDir`",
    ),
    own_key(
        "zoolet.audit.fileMode",
        Text("`600` or `640`", "600"),
        "the permissions of the audit log and its older files",
    ),
    own_key(
        "zoolet.audit.format",
        Text("`apache` or `json`", "apache"),
        "the format of the records",
    ),
    own_key(
        "zoolet.audit.keptFiles",
        Number(10, least=1, most=10_000, unit="files"),
        "the number of older audit logs that are kept",
    ),
    own_key(
        "zoolet.audit.maxFileKiB",
        Number(10_240, least=1, unit="KiB"),
        "the size at which a new audit log begins",
    ),
    own_key(
        "zoolet.audit.onFailure",
        Text("`drop` or `stop`", "drop"),
        "what happens if a record cannot be written: the record is lost, or the server stops",
    ),
    own_key(
        "zoolet.audit.periodHours",
        Number(0, least=0, most=24 * 366, unit="hours"),
        "a new audit log begins at each multiple of this time since 1970 (UTC); 0: never",
    ),
)
