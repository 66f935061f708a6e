"""What the program is told when a session has ended: the errors of calls, notices for watchers.

Imports ``model``, and the client's errors and protocol.
"""

from typing import Final

from zoolet.client.errors import (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.calls import SENT, Call
from zoolet.client.protocol.replies import name_of
from zoolet.client.protocol.states import SessionState
from zoolet.client.protocol.watches import Notice, Resynced, Watcher
from zoolet.model.codes import OpCode

_AUTH_OP: Final = OpCode.AUTH.value


def error_of_the_end(state: SessionState, call: Call[object], refusal: str = "") -> ZooKeeperError:
    """Return the error of a call that has not ended, in a state without a session.

    ``refusal`` is the reason why the server refused the login, if it is known.
    """
    name = name_of(call.op_code)
    is_sent = call.phase == SENT and call.op_code != _AUTH_OP
    if is_sent and state is not SessionState.EXPIRED:
        return ConnectionLossError(name, call.path)
    if state is SessionState.EXPIRED:
        return SessionExpiredError(name, call.path)
    if state is SessionState.AUTH_FAILED:
        return AuthFailedError(name, call.path, refusal)
    return ClientClosedError(name, call.path)


def resyncs(watchers: list[Watcher]) -> list[Notice]:
    """Return a Resynced for each watcher."""
    return [Notice(watcher, Resynced(watcher.shown_path)) for watcher in watchers]
