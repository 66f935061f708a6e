"""The error of a refused request."""

from zoolet.model.codes import ErrorCode


class RequestError(Exception):
    """A request was refused; the reply has ``code`` and no body.

    Attributes:
        code: the error code for the client.
        path: the path of the znode that caused the error; "" if no znode did.
    """

    def __init__(self, code: ErrorCode, path: str = "") -> None:
        super().__init__(code, path)
        self.code = code
        self.path = path

    def __str__(self) -> str:
        return f"{self.code.name} {self.path}".rstrip()
