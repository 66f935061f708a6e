"""The interface through which the processor submits requests that change the database.

``LocalWrites`` decides the changes in this server. ``ForwardedWrites`` sends the requests to the
leader of an ensemble, which decides the changes.
"""

from zoolet.server.connections.connection import Connection
from zoolet.wire.jute import Reader


class Writes:
    """Makes the changes that clients request, and sends the replies.

    A native base class, not a Protocol: compiled code calls its methods without a look-up.
    """

    def write(self, connection: Connection, xid: int, op_code: int, reader: Reader) -> None:
        """Process a request whose op code is in ``WRITE_OP_CODES``."""
        raise NotImplementedError

    def sync(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Process a sync; raises MalformedError."""
        raise NotImplementedError

    def reconfig(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Process a reconfig, which changes the members of an ensemble; raises MalformedError."""
        raise NotImplementedError

    def turn_ended(self) -> None:
        """End the turn of a connection, in which several requests may have been processed."""
        raise NotImplementedError

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in progress that could append a txn while requests are held."""
        raise NotImplementedError
