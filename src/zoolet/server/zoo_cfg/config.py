"""The configuration of a server: one immutable value, which ``reading`` creates from a zoo.cfg."""

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.model.ensemble import EnsembleMember
from zoolet.server.zoo_cfg.sasl_users import UserSources
from zoolet.state_machine.access import DigestRules
from zoolet.state_machine.rules import Rules
from zoolet.storage.compression import Compression

PROTOCOLS = ("TLSv1.2", "TLSv1.3")
"""The TLS versions that the server supports."""

NO_CLIENTS: Final = -1
"""The client port of a server without a port for clients that do not use TLS."""


class Listener(NamedTuple):
    """The address and the port that a service listens on.

    Attributes:
        address: the host name or IP address; None means all addresses of this machine, IPv4 and
            IPv6.
        port: the TCP port; 0 means any free port.
    """

    address: str | None
    port: int


class ClientAuth(Enum):
    """Whether a client on the secure port must present a certificate."""

    NEED = "need"
    WANT = "want"
    NONE = "none"


class StoreFormat(Enum):
    """The format of a key store or a trust store."""

    PEM = "PEM"
    PKCS12 = "PKCS12"


class StoreConfig(NamedTuple):
    """A key store or a trust store.

    Attributes:
        prefix: the prefix of its keys in zoo.cfg, for example ``ssl.keyStore``.
        path: the file.
        format: the format of the file.
        password: the password; "" if the store has none.
        password_path: the file with the password, which is read each time that the store is read;
            None if the password is not in a file.
    """

    prefix: str
    path: Path
    format: StoreFormat
    password: str
    password_path: Path | None

    def __repr__(self) -> str:
        """Return the prefix and the path without the password."""
        return f"StoreConfig({self.prefix!r}, {str(self.path)!r})"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return (self.path,) if self.password_path is None else (self.path, self.password_path)


class TlsConfig(NamedTuple):
    """The settings of TLS for clients.

    Attributes:
        listener: the address of the secure port; None if there is no such port.
        unifies_ports: whether the client port serves clients with TLS too
            (``client.portUnification``).
        key_store: the store with the server's private key and certificates.
        trust_store: the store with the certificates of the CAs that sign clients' certificates;
            None if no CA is trusted.
        crl: the PEM file with the revocation lists of these CAs; None if they are not checked.
        client_auth: whether a client must present a certificate.
        protocols: the enabled TLS versions, from ``PROTOCOLS``.
        cipher_suites: Java's names of the cipher suites; empty means OpenSSL's default.
    """

    listener: Listener | None
    unifies_ports: bool
    key_store: StoreConfig
    trust_store: StoreConfig | None
    crl: Path | None
    client_auth: ClientAuth
    protocols: tuple[str, ...]
    cipher_suites: tuple[str, ...]


class QuorumTls(NamedTuple):
    """The settings of TLS between the members of an ensemble.

    Attributes:
        key_store: the store with this server's private key and certificates.
        trust_store: the store with the certificates of the CAs that sign members' certificates.
        verifies_host: whether the leader's certificate must be for its host.
        protocols: the enabled TLS versions, from ``PROTOCOLS``.
        cipher_suites: Java's names of the cipher suites; empty means OpenSSL's default.
    """

    key_store: StoreConfig
    trust_store: StoreConfig
    verifies_host: bool
    protocols: tuple[str, ...]
    cipher_suites: tuple[str, ...]


class AlternativeNameRule(NamedTuple):
    """How a client's id is found in the subject alternative names of its certificate.

    Attributes:
        kind: the type of the name, a number of RFC 5280 (``clientCertIdSanMatchType``).
        match: exactly one name of this type must match (``clientCertIdSanMatchRegex``).
        extract: finds the id in this name (``clientCertIdSanExtractRegex``).
        group: the group of ``extract`` that is the id; 0 means the whole text that it finds
            (``clientCertIdSanExtractMatcherGroupIndex``).
    """

    kind: int
    match: re.Pattern[str]
    extract: re.Pattern[str]
    group: int


class X509Config(NamedTuple):
    """The settings of the scheme x509.

    Attributes:
        super_user: the id of the super user; "" if there is no such user.
        alternative_name: how the id is found in the alternative names of a certificate; None if the
            subject is the id.
    """

    super_user: str
    alternative_name: AlternativeNameRule | None


class QuorumLogin(NamedTuple):
    """The name and the password with which this server proves itself to the leader (DIGEST-MD5)."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Return the name without the password."""
        return f"QuorumLogin({self.username!r})"


class ObserverConfig(NamedTuple):
    """The settings of an observer.

    Attributes:
        my_id: the number of this server, from the file ``myid`` in the dataDir.
        members: the members that zoo.cfg names, by number; this server may be one of them.
        init_limit_ms: the time in which the leader must send the missing txns or a snapshot.
        sync_limit_ms: the connection is closed if the leader sends nothing for this time.
        tls: the settings of TLS between members; None if they do not use TLS.
        login: the login of this server at the leader; None if the leader requires none.
        has_read_only_mode: whether read-only clients are served while there is no leader.
        other_history: the message with which the server stops if the leader has another history
            than the files of the server. None: the histories are not compared.
    """

    my_id: int
    members: dict[int, EnsembleMember]
    init_limit_ms: int
    sync_limit_ms: int
    tls: QuorumTls | None
    login: QuorumLogin | None
    has_read_only_mode: bool
    other_history: str | None = None


class KerberosConfig(NamedTuple):
    """The settings of Kerberos.

    Attributes:
        keytab: the file with the keys of the server.
        principal: the principal of the server, ``service/host@REALM``.
        krb5_conf: the path of krb5.conf; "" for the one that Kerberos finds itself.
        place: where the settings are, for messages.
    """

    keytab: Path
    principal: str
    krb5_conf: str
    place: str


class SaslConfig(NamedTuple):
    """The settings of the authentication with SASL.

    Attributes:
        kerberos: the settings of Kerberos (GSSAPI); None if the server has only users with
            passwords (DIGEST-MD5).
        users: the places of the users and their passwords.
        super_users: the names of the users to whom every ACL gives all permissions
            (``superUser``).
        any_user: the name in ACLs that means every authenticated user (``letAnySaslUserDoX``); ""
            if there is none.
        is_required: whether a client must authenticate with SASL before it sends other requests.
        keeps_failed_clients: whether a client may go on after its authentication has failed
            (``allowSaslFailedClients``); never if ``is_required``.
        failure_delay_ms: the time until a client is told that its authentication has failed.
        name_rules: the rules that shorten names of Kerberos (``security.auth_to_local``).
        removes_host: whether the host in a name of Kerberos is left out.
        removes_realm: whether the realm in a name of Kerberos is left out.
    """

    kerberos: KerberosConfig | None
    users: UserSources
    super_users: frozenset[str]
    any_user: str
    is_required: bool
    keeps_failed_clients: bool
    failure_delay_ms: int
    name_rules: str
    removes_host: bool
    removes_realm: bool


class AdminConfig(NamedTuple):
    """The settings of the admin endpoint.

    Attributes:
        listener: the address and the port.
        root: the URL path of the commands.
        idle_timeout_ms: the time after which a silent client is disconnected.
        rate_limit_ms: the shortest time between two ``snapshot`` commands, and between two
            ``restore`` commands.
        offers_snapshot: whether the command ``snapshot`` is enabled.
        offers_restore: whether the command ``restore`` is enabled.
    """

    listener: Listener
    root: str
    idle_timeout_ms: int
    rate_limit_ms: int
    offers_snapshot: bool
    offers_restore: bool


class OperatorTls(NamedTuple):
    """The settings of HTTPS for the admin endpoint and the metrics.

    Attributes:
        key_store: the store with the server's private key and certificates.
        trust_store: the store with the certificates of the CAs that sign operators' certificates;
            None if no CA is trusted.
        client_auth: whether an operator must present a certificate.
        protocols: the enabled TLS versions, from ``PROTOCOLS``.
        cipher_suites: Java's names of the cipher suites; empty means OpenSSL's default.
    """

    key_store: StoreConfig
    trust_store: StoreConfig | None
    client_auth: ClientAuth
    protocols: tuple[str, ...]
    cipher_suites: tuple[str, ...]


class OperatorsConfig(NamedTuple):
    """Who may use the admin endpoint and the metrics, and how.

    Attributes:
        tls: the settings of HTTPS; None if there is none.
        admin_needs_https: whether the admin endpoint accepts only HTTPS.
        admin_offers_https: whether the admin endpoint accepts HTTPS.
        metrics_needs_https: whether the metrics port accepts only HTTPS.
        users_file: the file with the users and their roles; None if everybody may do everything.
        failure_delay_ms: the time until a client is told that its login has failed.
    """

    tls: OperatorTls | None
    admin_needs_https: bool
    admin_offers_https: bool
    metrics_needs_https: bool
    users_file: Path | None
    failure_delay_ms: int


class AuditConfig(NamedTuple):
    """The settings of the audit log.

    Attributes:
        file: the path of the file.
        is_json: whether the records are JSON; otherwise they have Apache ZooKeeper's format.
        max_file_bytes: the size at which a new file begins.
        period_h: a new file begins at each multiple of this number of hours; 0 means never.
        kept_files: the number of older files that are kept.
        mode: the permissions of the files.
        stops: whether the server stops if a record cannot be written; otherwise the record is lost.
    """

    file: Path
    is_json: bool
    max_file_bytes: int
    period_h: int
    kept_files: int
    mode: int
    stops: bool


class StorageConfig(NamedTuple):
    """The settings for writing and purging snapshots and transaction logs.

    Attributes:
        snap_count: the number of txns after which a snapshot is taken and a new log is begun.
        snap_size_bytes: the number of bytes of txns after which a snapshot is taken.
        log_size_bytes: the size of a log at which a new log is begun; 0 means no limit.
        compression: the compression of snapshots.
        kept_snapshots: the number of snapshots that a purge keeps, with the logs that they need.
        purge_interval_h: the hours between two purges; 0 means no purges.
        sync_warning_ms: if a sync to disk takes longer, the server logs a warning.
        preallocate_bytes: the steps in which a log file grows.
        force_sync: whether a txn is acknowledged only after it is on disk.
    """

    snap_count: int
    snap_size_bytes: int
    log_size_bytes: int
    compression: Compression
    kept_snapshots: int
    purge_interval_h: int
    sync_warning_ms: int
    preallocate_bytes: int
    force_sync: bool


class Config(NamedTuple):
    """The configuration of a server; the table in ``used_keys`` has the defaults.

    Attributes:
        data_dir: the directory of the snapshots, and of the logs if data_log_dir is None.
        data_log_dir: the directory of the logs; None means data_dir.
        client_port: the TCP port for clients; 0 means any free port, NO_CLIENTS none at all.
        client_address: the address to listen on; None means all addresses of this machine, IPv4
            and IPv6.
        tls: the settings of TLS for clients; None if the server does not serve TLS.
        x509: the settings of the scheme x509.
        creates_directories: whether missing data directories are created (``datadir.autocreate``).
        tick_time_ms: the unit of session timeouts.
        min_session_timeout_ms: the shortest session timeout; shorter ones are raised to it.
        max_session_timeout_ms: the longest session timeout; longer ones are lowered to it.
        max_connections_per_address: the most connections from one address; 0 means no limit.
        max_connections: the most connections in total; 0 means no limit.
        sessionless_timeout_ms: the time in which a new connection must open a session
            (``nio.sessionlessCnxnTimeout``).
        client_read_timeout_ms: the time after which a client is disconnected if it reads nothing
            although bytes wait for it (``zoolet.clientReadTimeoutMs``).
        listen_backlog: the most connections that may wait to be accepted.
        keeps_alive: whether the operating system probes silent connections
            (``clientTcpKeepAlive``).
        storage: the settings for snapshots and logs.
        rules: the limits of the state machine.
        skips_acl: whether every client may do everything (``skipACL``).
        digests: the settings of the authentication scheme digest.
        sasl: the settings of SASL; None if the server has no users of SASL.
        required_schemes: a client must log in with one of these schemes before it sends other
            requests; empty if clients need not log in.
        container_check_interval_ms: the time between two checks of containers and TTL znodes.
        max_removed_per_minute: the most containers and TTL znodes that are deleted in a minute.
        container_unused_ms: the time after which a container that never had a child is deleted;
            0 means never.
        max_frame_bytes: the longest request (``jute.maxbuffer``).
        four_letter_words: the four-letter words that the server answers.
        admin: the settings of the admin endpoint; None if it is off.
        metrics: the address and the port of Prometheus' metrics; None if they are off.
        operators: who may use the admin endpoint and the metrics.
        audit: the settings of the audit log; None if there is none.
        session_secret: the secret from which session passwords are derived
            (``zoolet.sessionSecret``); "" means Apache ZooKeeper's passwords.
        observer: the settings of an observer; None if the server is standalone.
        settings: the values that were read, by key, without secrets.
        warnings: a line for each setting that has no effect, or another effect than expected.
    """

    data_dir: Path
    client_port: int
    data_log_dir: Path | None
    client_address: str | None
    tls: TlsConfig | None
    x509: X509Config
    creates_directories: bool
    tick_time_ms: int
    min_session_timeout_ms: int
    max_session_timeout_ms: int
    max_connections_per_address: int
    max_connections: int
    sessionless_timeout_ms: int
    client_read_timeout_ms: int
    listen_backlog: int
    keeps_alive: bool
    storage: StorageConfig
    rules: Rules
    skips_acl: bool
    digests: DigestRules
    sasl: SaslConfig | None
    required_schemes: frozenset[str]
    container_check_interval_ms: int
    max_removed_per_minute: int
    container_unused_ms: int
    max_frame_bytes: int
    four_letter_words: frozenset[str]
    admin: AdminConfig | None
    metrics: Listener | None
    operators: OperatorsConfig
    audit: AuditConfig | None
    session_secret: str
    observer: ObserverConfig | None
    settings: Mapping[str, str]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """Return the settings that were read, without secrets."""
        return f"Config({dict(self.settings)})"

    @property
    def secure_client_port(self) -> int:
        """The secure port; -1 if there is none."""
        return -1 if self.tls is None or self.tls.listener is None else self.tls.listener.port

    @property
    def may_use_tls(self) -> bool:
        """Whether the server may use TLS with clients, operators or a leader."""
        return not (self.tls is None and self.operators.tls is None and self.observer is None)

    @property
    def text(self) -> str:
        """The settings that were read, in the format of zoo.cfg, without secrets."""
        return "".join(f"{key}={value}\n" for key, value in self.settings.items())
