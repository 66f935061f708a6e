"""Programs that log in with SASL, do the same steps, and print what they saw as JSON.

``python -m tests.support.sasl_client_programs CLIENT HOSTS LOGIN USER`` runs one of them. They run
in processes of their own, because each has its own tickets and its own clock.
"""

import json
import sys
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_acl

from zoolet.client import ACL, Client, ClientOptions, CreateMode, Credential
from zoolet.model.acl import Id

GUARDED = "/of-ann"
"""A znode that only ann may read."""

_START_S = 6.0


def main(client: str, hosts: str, login: str, user: str) -> None:
    """Run a client; print its outcome."""
    run = _kazoo if client == "kazoo" else _zoolet
    try:
        outcome = run(hosts, json.loads(login), user)
    except Exception as error:  # noqa: BLE001 -- the outcome
        outcome = {"error": type(error).__name__}
    print(json.dumps(outcome))


def _kazoo(hosts: str, options: Any, user: str) -> dict[str, Any]:
    client = KazooClient(hosts, sasl_options=options, timeout=_START_S)
    try:
        client.start(_START_S)
        client.exists("/")
    except (AuthFailedError, KazooTimeoutError):
        # Which one it is depends on the moment at which kazoo's thread ends.
        return {"error": "no session"}
    acl = [make_acl("sasl", user, all=True)]
    path = client.create("/of-bob-", b"x", sequence=True, acl=acl)
    acls, stat = client.get_acls(path)
    outcome = {
        "acl": [[acl.perms, acl.id.scheme, acl.id.id] for acl in acls],
        "version": stat.version,
        "own": _result(lambda: client.get(path)[0]),
        "guarded": _result(lambda: client.get(GUARDED)[0]),
        "delete": _result(lambda: client.delete(path)),
    }
    client.stop()
    client.close()
    return outcome


def _zoolet(hosts: str, login: Any, user: str) -> dict[str, Any]:
    options = ClientOptions(auth=(Credential(*login),), connect_timeout_s=_START_S)
    with Client(hosts, options) as client:
        acl = (ACL(31, Id("sasl", user)),)
        mode = CreateMode.PERSISTENT_SEQUENTIAL
        path = client.create("/of-bob-", b"x", acl=acl, mode=mode).path
        found = client.get_acl(path)
        return {
            "acl": [[entry.perms, entry.id.scheme, entry.id.id] for entry in found.acl],
            "version": found.stat.version,
            "own": _result(lambda: client.get(path).data),
            "guarded": _result(lambda: client.get(GUARDED).data),
            "delete": _result(lambda: client.delete(path)),
            "who": sorted([who.scheme, who.id] for who in client.who_am_i()),
        }


def _result(step: Any) -> Any:
    try:
        found = step()
        return found.decode() if isinstance(found, bytes) else None
    except Exception as error:  # noqa: BLE001 -- the outcome
        return type(error).__name__


if __name__ == "__main__":
    main(*sys.argv[1:])
