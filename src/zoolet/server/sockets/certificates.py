"""The certificates for clients with TLS, which may change while the server runs.

The server imports this module only if it serves TLS.
"""

import logging
import ssl

from zoolet.server.common.changed_files import stamp_of
from zoolet.server.common.errors import ServerError
from zoolet.server.sockets.tls import tls_context
from zoolet.server.zoo_cfg.config import TlsConfig

log = logging.getLogger(__name__)


class Certificates:
    """The TLS context for new connections. Open connections keep the one that they began with.

    Raises:
        ServerError: a file cannot be used.
    """

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        stores = (config.key_store, config.trust_store)
        files = [path for store in stores if store is not None for path in store.files]
        self._files = (*files, *([] if config.crl is None else [config.crl]))
        self._stamp = stamp_of(self._files)
        self._context = tls_context(config)

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self._context

    def look(self) -> None:
        """Read the files again if one has changed; keep the context if they cannot be used."""
        stamp = stamp_of(self._files)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            context = tls_context(self._config)
        except ServerError as error:
            log.error("the certificates stay as they are: %s", error)  # noqa: TRY400 -- no bug
            return
        self._context = context
        log.info("read the certificates of the secure port again")
