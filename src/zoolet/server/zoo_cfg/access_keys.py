"""The keys of zoo.cfg about who may do what: authentication schemes, SASL, session passwords.

Source: as for ``used_keys``.
"""

from typing import Final

from zoolet.server.zoo_cfg.key import Flag, Number, Text
from zoolet.server.zoo_cfg.key_rows import bare_key, own_key, property_key

_FILE: Final = Text("file")

ACCESS: Final = (
    property_key(
        "skipACL", Text("`yes` or `no`", "no"), "with `yes`, every client may do everything"
    ),
    property_key(
        "authProvider.*",
        Text("class"),
        "the class of an authentication provider",
        "zoolet accepts only Apache's classes for digest, ip, sasl and x509, and refuses other"
        " classes",
    ),
    property_key("DigestAuthenticationProvider.enabled", Flag(True), "enable the scheme digest"),
    property_key(
        "DigestAuthenticationProvider.digestAlg",
        Text("hash", "sha1"),
        "the hash function of the scheme digest, by Java's or Python's name",
    ),
    property_key(
        "DigestAuthenticationProvider.superDigest",
        Text("`super:digest`"),
        "the digest of the super user; if it is not set, there is no super user",
    ),
    property_key(
        "X509AuthenticationProvider.superUser",
        Text("subject"),
        "the id of the super user in the scheme x509: the subject of its certificate",
    ),
    property_key("enforce.auth.enabled", Flag(False), "apply `enforce.auth.schemes`"),
    property_key(
        "enforce.auth.schemes",
        Text("list of schemes"),
        "a client must log in with one of these schemes before it sends other requests",
        "zoolet accepts only digest, ip, sasl and x509, and refuses other schemes",
    ),
    # --- SASL
    bare_key(
        "java.security.auth.login.config",
        _FILE,
        "the JAAS file with the users of DIGEST-MD5, which the server reads again when it changes,"
        " or with the keytab and the principal of Kerberos",
    ),
    bare_key(
        "java.security.krb5.conf",
        _FILE,
        "the krb5.conf of Kerberos, in place of the one in the variable `KRB5_CONFIG` or in /etc",
    ),
    property_key(
        "sasl.serverconfig", Text("name", "Server"), "the section of the JAAS file for the server"
    ),
    property_key(
        "SASLAuthenticationProvider.superPassword",
        Text("password"),
        "the password of the user `super`, in place of the one in the file",
    ),
    property_key(
        "superUser", Text("name"), "a user of SASL to whom every ACL gives all permissions"
    ),
    property_key(
        "superUser.*", Text("name"), "further users of SASL to whom every ACL gives all permissions"
    ),
    property_key(
        "letAnySaslUserDoX",
        Text("name"),
        "a name in ACLs that means every user who has authenticated with SASL",
    ),
    property_key(
        "sessionRequireClientSASLAuth",
        Flag(False),
        "a client must authenticate with SASL before it sends other requests",
        "zoolet refuses it without users",
    ),
    property_key(
        "allowSaslFailedClients",
        Flag(False),
        "a client may go on, without an identity, after its authentication has failed",
    ),
    property_key(
        "security.auth_to_local",
        Text("rules", "DEFAULT"),
        "the rules that shorten a user name like `service/host@REALM`",
        "the regular expressions are those of Python",
    ),
    property_key(
        "kerberos.removeHostFromPrincipal",
        Flag(False),
        "leave the host out of a user name like `service/host@REALM`",
    ),
    property_key(
        "kerberos.removeRealmFromPrincipal",
        Flag(False),
        "leave the realm out of a user name like `service/host@REALM`",
    ),
)

_FORK: Final = "LinkedIn's fork of ZooKeeper has this option; Apache ZooKeeper 3.9.5 has not"

OWN_ACCESS: Final = (
    own_key(
        "X509AuthenticationProvider.clientCertIdType",
        Text("`SAN` or another text"),
        "with `SAN`, the id of a client in the scheme x509 is a subject alternative name of its"
        f" certificate, see [access.md](access.md); else it is the subject. {_FORK}",
    ),
    own_key(
        "X509AuthenticationProvider.clientCertIdSanMatchType",
        Number(-1),
        "with `clientCertIdType=SAN`: the type of the alternative name: 1 (e-mail address), 2 (DNS"
        " name), 4 (directory name), 6 (URI), 7 (IP address) or 8 (registered id)",
    ),
    own_key(
        "X509AuthenticationProvider.clientCertIdSanMatchRegex",
        Text("regular expression of Python", ".*"),
        "with `clientCertIdType=SAN`: exactly one alternative name of the type must match",
    ),
    own_key(
        "X509AuthenticationProvider.clientCertIdSanExtractRegex",
        Text("regular expression of Python", ".*"),
        "with `clientCertIdType=SAN`: finds the id in the alternative name that matches",
    ),
    own_key(
        "X509AuthenticationProvider.clientCertIdSanExtractMatcherGroupIndex",
        Number(0, least=0),
        "with `clientCertIdType=SAN`: the group of `clientCertIdSanExtractRegex` that is the id; 0:"
        " all that the expression finds",
    ),
    own_key(
        "zoolet.kerberosKeytab",
        _FILE,
        "the keytab with the keys of the server, in place of the one in the JAAS file; the server"
        " uses a replaced keytab without a restart",
    ),
    own_key(
        "zoolet.kerberosPrincipal",
        Text("principal"),
        "the principal of the server, `zookeeper/HOST@REALM`, in place of the one in the JAAS file",
    ),
    own_key(
        "zoolet.saslFailureDelayMs",
        Number(500, least=0, unit="ms"),
        "the time until a client is told that its authentication with SASL has failed",
    ),
    own_key(
        "zoolet.saslPassword.*",
        Text("password"),
        "a user of SASL, with the name behind `zoolet.saslPassword.`, and the user's password",
    ),
    own_key(
        "zoolet.saslUsersFile",
        _FILE,
        "a file with a line `name:password` for each user of SASL, see [access.md](access.md); the"
        " server reads it again when it changes",
    ),
    own_key(
        "zoolet.sessionSecret",
        Text("16 characters or more"),
        "the secret from which session passwords are derived, see [access.md](access.md)",
    ),
)
