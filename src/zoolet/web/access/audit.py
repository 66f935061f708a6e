"""The audit: one record for each change, as a line of JSON in the log ``zoolet.web.audit``.

Invariant: a record contains no data of znodes and no credential.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from zoolet.client.errors import ZooKeeperError
from zoolet.web.access.visitors import Visitor

log = logging.getLogger(__name__)


@contextmanager
def audited(
    visitor: Visitor, cluster: str, operation: str, path: str, **more: object
) -> Iterator[dict[str, Any]]:
    """Write a record when the block ends, however it ends; the block may add to the record."""
    record: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "user": visitor.user,
        "address": visitor.address,
        "cluster": cluster,
        "operation": operation,
        "path": path,
        "result": "done",
        **more,
    }
    try:
        yield record
    except BaseException as error:
        if record["result"] == "done":
            record["result"] = type(error).__name__
            if isinstance(error, ZooKeeperError):
                record["error"] = str(error)
        raise
    finally:
        log.info("%s", json.dumps(record))
