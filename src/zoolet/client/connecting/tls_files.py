"""The names of the files for TLS. Imports nothing of zoolet, and not ssl, which takes 10 ms."""

from os import PathLike
from typing import NamedTuple


class TlsFiles(NamedTuple):
    """The files of a client that uses TLS, in PEM format.

    Attributes:
        ca: the certificates of the CAs that sign the servers' certificates.
        cert: the client's certificate; None if it has none.
        key: the client's private key; None if it is in the file ``cert``.
    """

    ca: str | PathLike[str]
    cert: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
