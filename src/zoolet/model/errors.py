"""The error that a request can end in."""

from zoolet.model.codes import ErrorCode


class RequestError(Exception):
    """A request was refused; the reply carries ``code`` and no body.

    Attributes:
        code: what the client is told.
        path: the znode it concerns, or "" where it concerns none.
    """

    def __init__(self, code: ErrorCode, path: str = "") -> None:
        super().__init__(code, path)
        self.code = code
        self.path = path

    def __str__(self) -> str:
        return f"{self.code.name} {self.path}".rstrip()
