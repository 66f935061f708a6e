"""Ends sessions from outside, as a server does when a client is silent for too long."""

from zoolet.client import Client, ClientOptions, SessionId


def end_session(hosts: str, session: SessionId) -> None:
    """End a session: a client that has its id and password can close it.

    The session's own client connects again, and takes the session back. The server then closes the
    connection of this function, perhaps before it reads the request to close the session. So the
    function repeats the request until the session does not exist.
    """
    # This loop ends: a session that does not exist cannot be resumed.
    while True:
        with Client(hosts, ClientOptions(session=session)) as client:
            if client.session_id.id != session.id:
                return
