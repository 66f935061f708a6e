"""The key stores and trust stores of a zoo.cfg: the file, its format and its password.

Source: ``KeyStoreFileType`` and ``SecretUtils`` of Apache ZooKeeper 3.9.5.
"""

from pathlib import Path
from typing import Final

from zoolet.passwords.secret_files import SecretFileError, read_secret_file
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import StoreConfig, StoreFormat
from zoolet.server.zoo_cfg.settings import Settings

_LIMIT_BYTES: Final = 64 << 10
_BY_TYPE: Final = {
    "PEM": StoreFormat.PEM,
    "PKCS12": StoreFormat.PKCS12,
    "JKS": StoreFormat.PKCS12,
}
"""The format by the type. Stores of the type JKS may have the format PKCS12, which Java has written
by default since Java 9. As in Java, the content decides (``sockets/stores.py``)."""

_TYPE_BY_SUFFIX: Final = {".pem": "PEM", ".p12": "PKCS12", ".jks": "JKS", ".bcfks": "BCFKS"}


def store(settings: Settings, prefix: str) -> StoreConfig | None:
    """Return the key store or trust store whose keys begin with ``prefix``.

    None if its location is not set. Raises ConfigError if the format is not supported, or if the
    file with the password cannot be read.
    """
    location = settings.text(f"{prefix}.location")
    kind = settings.text(f"{prefix}.type").upper()
    password = settings.text(f"{prefix}.password")
    password_path = settings.text(f"{prefix}.passwordPath")
    if not location:
        return None
    path = Path(location)
    found = StoreConfig(
        prefix,
        path,
        _format(settings, prefix, path, kind),
        password,
        Path(password_path) if password_path else None,
    )
    try:
        password_of(found)
    except SecretFileError as error:
        raise settings.error(f"{prefix}.passwordPath", str(error)) from None
    return found


def password_of(store: StoreConfig) -> str:
    """Return the password of a store, as its file has it now; "" if there is none.

    Raises SecretFileError if the file cannot be read.
    """
    if store.password_path is None:
        return store.password
    file = read_secret_file(store.password_path, _LIMIT_BYTES)
    file.warn()
    return file.text().rstrip("\r\n")


def _format(settings: Settings, prefix: str, path: Path, kind: str) -> StoreFormat:
    wanted = kind or _TYPE_BY_SUFFIX.get(path.suffix.lower())
    if wanted in _BY_TYPE:
        return _BY_TYPE[wanted]
    if kind not in {"", "BCFKS"}:
        raise settings.error(
            f"{prefix}.type",
            f"{prefix}.type={kind} is not supported: zoolet reads the types PEM and PKCS12."
            " Set one of them, or convert the store",
        )
    raise _unsupported(settings, prefix, path, wanted)


def _unsupported(settings: Settings, prefix: str, path: Path, wanted: str | None) -> ConfigError:
    name = f"{prefix}.location"
    if wanted is None:
        return settings.error(
            name,
            f"{path}: its name does not show its format: set {prefix}.type=PEM or"
            f" {prefix}.type=PKCS12",
        )
    return settings.error(
        name,
        f"{path} has the format BCFKS, which zoolet does not read. Convert it, on a machine with"
        f" Bouncy Castle: {conversion(path, 'BCFKS')}",
    )


def conversion(path: Path, kind: str) -> str:
    """Return the command that converts a store of the Java type ``kind`` to PKCS12."""
    return (
        f"keytool -importkeystore -srckeystore {path} -srcstoretype {kind} -destkeystore"
        f" {path.with_suffix('.p12')} -deststoretype PKCS12"
    )
