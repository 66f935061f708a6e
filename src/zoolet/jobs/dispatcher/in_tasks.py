"""The dispatcher of tasks: an executor opens it, with the settings of its worker's connection.

`queue_as_json` runs in the worker, and `open_dispatcher` in the executor. This module imports
`zoolet.client`, `zoolet.jobs.signing` and other modules of its package.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from zoolet.client.connecting.options import Credential
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.signing.keys import KeysPath

OPENER = "zoolet.jobs.dispatcher.in_tasks:open_dispatcher"
"""The name of `open_dispatcher`, for executors."""


def queue_as_json(
    connection: ConnectionSettings,
    root: str,
    *,
    result_stores: Mapping[str, str] | None = None,
    signing_keys: KeysPath | None = None,
    loaders: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return a worker's connection, and its other arguments of a `Dispatcher`, as a JSON object.

    It has passwords. It goes to the executors through a pipe, never in their arguments.
    """
    tls = connection.tls
    return {
        "hosts": connection.hosts,
        "session_timeout_ms": connection.session_timeout_ms,
        "connect_timeout_ms": connection.connect_timeout_ms,
        "auth": [list(credential) for credential in connection.auth],
        "tls": None if tls is None else [None if path is None else os.fspath(path) for path in tls],
        "root": root,
        "result_stores": dict(result_stores or {}),
        "signing_keys": None if signing_keys is None else os.path.abspath(signing_keys),  # noqa: PTH100
        "loaders": list(loaders or ()),
    }


def open_dispatcher(queue: dict[str, Any]) -> Dispatcher:
    """Open a dispatcher from the object that `queue_as_json` returned.

    Raises:
        JobTimeoutError: no server replied in time.
        ConnectError: the client cannot connect with these settings.
    """
    tls = queue["tls"]
    settings = ConnectionSettings(
        queue["hosts"],
        session_timeout_ms=queue["session_timeout_ms"],
        connect_timeout_ms=queue["connect_timeout_ms"],
        auth=tuple(Credential(*credential) for credential in queue["auth"]),
        tls=None if tls is None else TlsFiles(*tls),
    )
    return Dispatcher(
        settings,
        queue["root"],
        result_stores=queue["result_stores"],
        signing_keys=queue["signing_keys"],
        loaders=queue["loaders"],
    )
