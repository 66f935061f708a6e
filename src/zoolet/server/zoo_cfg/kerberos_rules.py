"""The settings of Kerberos in zoo.cfg or in the JAAS file of Apache ZooKeeper.

Source of the JAAS options: ``com.sun.security.auth.module.Krb5LoginModule`` of OpenJDK.
"""

from pathlib import Path
from typing import Final

from zoolet.passwords.secret_files import SecretFileError, read_secret_file
from zoolet.server.zoo_cfg.config import KerberosConfig
from zoolet.server.zoo_cfg.sasl_users import KERBEROS_MODULE, UsersError, UserSources
from zoolet.server.zoo_cfg.settings import Settings

_KEYTAB_KEY: Final = "zoolet.kerberosKeytab"
_PRINCIPAL_KEY: Final = "zoolet.kerberosPrincipal"
_JAAS_KEY: Final = "java.security.auth.login.config"
_FILE_PREFIX: Final = "FILE:"
_LIMIT_BYTES: Final = 16 << 20
_KEYTAB_STARTS: Final = (b"\5\1", b"\5\2")
"""The first bytes of a keytab: the version of its format."""


def kerberos(settings: Settings, sources: UserSources) -> KerberosConfig | None:
    """Return the settings of Kerberos; None if there are none.

    The keys of zoo.cfg precede the JAAS file. Raises ConfigError.
    """
    keytab, principal = settings.text(_KEYTAB_KEY), settings.text(_PRINCIPAL_KEY)
    krb5_conf = settings.text("java.security.krb5.conf")
    key = _KEYTAB_KEY if keytab else _PRINCIPAL_KEY
    place = f"{settings.path}: {_KEYTAB_KEY}"
    if bool(keytab) is not bool(principal):
        raise settings.error(key, f"{_KEYTAB_KEY} and {_PRINCIPAL_KEY} need each other: set both")
    if not keytab:
        key = _JAAS_KEY
        try:
            options = _jaas_options(sources)
        except UsersError as error:
            raise settings.error(key, str(error)) from None
        if options is None:
            return None
        keytab, principal = options
        place = f"{sources.jaas}: section {sources.section}"
    try:
        _check(Path(keytab), principal)
    except UsersError as error:
        raise settings.error(key, str(error)) from None
    return KerberosConfig(Path(keytab), principal, krb5_conf, place)


def _jaas_options(sources: UserSources) -> tuple[str, str] | None:
    """Return the keytab and the principal of the JAAS file; None if it is not for Kerberos."""
    modules = [module for module in sources.modules() if module.class_name == KERBEROS_MODULE]
    if not modules:
        return None
    options = modules[0].options
    keytab = options.get("keyTab", "").removeprefix(_FILE_PREFIX)
    principal = options.get("principal", "")
    if options.get("useKeyTab", "").lower() != "true" or not keytab or not principal:
        raise UsersError(
            f"{sources.jaas}: the section {sources.section} is for Kerberos, so it needs"
            ' useKeyTab=true, keyTab="FILE" and principal="zookeeper/HOST@REALM"'
        )
    return keytab, principal


def _check(keytab: Path, principal: str) -> None:
    service, slash, host = principal.partition("@")[0].partition("/")
    if not service or not slash or not host:
        raise UsersError(
            f"{principal!r} is not the principal of a server: write zookeeper/HOST@REALM"
        )
    try:
        file = read_secret_file(keytab, _LIMIT_BYTES)
    except SecretFileError as error:
        raise UsersError(f"the keytab {error}") from None
    file.warn()
    if file.content[:2] not in _KEYTAB_STARTS:
        raise UsersError(f"{keytab} is not a keytab: make one with `ktadd -k FILE` of kadmin")
