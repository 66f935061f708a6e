"""Errors of the link to the leader."""


class LinkError(Exception):
    """The link cannot be opened, or it has ended; the server tries again."""


class FatalLinkError(Exception):
    """No other link can help; the server must stop. The message has the reason and the remedy."""


class NeedsSnapshotError(LinkError):
    """The log does not reach back as far as the leader wants; the next link needs a snapshot."""
