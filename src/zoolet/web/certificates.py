"""The certificate of the page, which is read again when its files change.

A new connection gets the new certificate, so nobody is logged out when a certificate is renewed. If
the new files cannot be used, the certificate before the change stays, and the log says so.
"""

import logging
import ssl
from pathlib import Path
from typing import Final

from zoolet.passwords.file_stamps import stamp_of

log = logging.getLogger(__name__)

_LOCKED: Final = b"ENCRYPTED"
_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
    "PEM lib": "a file is not in PEM format, or has no key or no certificate",
}


class CertificateError(Exception):
    """The certificate or its key cannot be used; the message says what to correct."""


class PageCertificate:
    """The context of TLS for the page.

    Attributes:
        context: the context with which the page listens.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        """Read the files.

        Raises:
            CertificateError: the files cannot be used.
        """
        self._files = (cert, key)
        self._stamp = stamp_of(self._files)
        self.context = self._current = self._read()
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        """Give a new connection the certificate of the files as they are now."""
        if (stamp := stamp_of(self._files)) != self._stamp:
            self._stamp = stamp
            try:
                self._current = self._read()
            except CertificateError as error:
                log.error("%s. The certificate before this change stays.", error)  # noqa: TRY400
            else:
                log.info("read %s again", self._files[0])
        connection.context = self._current

    def _read(self) -> ssl.SSLContext:
        cert, key = self._files
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        is_locked = False
        try:
            is_locked = _LOCKED in key.read_bytes()
            # Without a password, OpenSSL would ask a terminal for it.
            context.load_cert_chain(cert, key, password="")
        except ssl.SSLError as error:
            reason = error.reason or "PEM lib"
            if is_locked:
                reason = "the key has a password: store it without one (openssl pkey -in FILE)"
            raise CertificateError(
                f"--https-cert {cert}, --https-key {key}: {_REASONS.get(reason, reason)}"
            ) from None
        except OSError as error:
            raise CertificateError(
                f"--https-cert {cert}, --https-key {key}: a file cannot be read: {error.strerror}"
            ) from None
        return context
