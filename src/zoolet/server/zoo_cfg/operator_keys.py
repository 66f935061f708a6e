"""The keys of zoo.cfg about who may use the admin endpoint and the metrics.

Source: the administrator's guide of ZooKeeper 3.9, "AdminServer configuration".
"""

from typing import Final

from zoolet.server.zoo_cfg.key import Flag, Number, Text
from zoolet.server.zoo_cfg.key_rows import own_key, property_key

_STORE: Final = Text("PEM or PKCS12 file")
_STORE_TYPE: Final = Text("`PEM`, `PKCS12` or `JKS`")

OPERATORS: Final = (
    property_key(
        "admin.forceHttps",
        Flag(False),
        "the admin endpoint accepts only HTTPS, with the stores `zoolet.admin.*` or, as in Apache,"
        " `ssl.quorum.*`",
    ),
    property_key(
        "admin.portUnification",
        Flag(False),
        "the admin endpoint accepts HTTP and HTTPS; `admin.forceHttps` precedes it",
    ),
    property_key(
        "admin.needClientAuth",
        Flag(False),
        "a client of HTTPS must present a certificate that the trust store accepts",
    ),
)

OWN_OPERATORS: Final = (
    own_key(
        "zoolet.admin.failureDelayMs",
        Number(1000, least=0, unit="ms"),
        "the time until a client of the admin endpoint or the metrics is told that its login has"
        " failed",
    ),
    own_key(
        "zoolet.admin.keyStore.location",
        _STORE,
        "the private key and certificates for HTTPS, in place of `ssl.quorum.keyStore.location`",
    ),
    own_key("zoolet.admin.keyStore.password", Text("password"), "the password of the key store"),
    own_key(
        "zoolet.admin.keyStore.passwordPath",
        Text("file"),
        "the file with the password of the key store",
    ),
    own_key("zoolet.admin.keyStore.type", _STORE_TYPE, "the format of the key store"),
    own_key(
        "zoolet.admin.trustStore.location",
        _STORE,
        "the certificates of the CAs that sign operators' certificates; only with"
        " `zoolet.admin.keyStore.location`",
    ),
    own_key(
        "zoolet.admin.trustStore.password", Text("password"), "the password of the trust store"
    ),
    own_key(
        "zoolet.admin.trustStore.passwordPath",
        Text("file"),
        "the file with the password of the trust store",
    ),
    own_key("zoolet.admin.trustStore.type", _STORE_TYPE, "the format of the trust store"),
    own_key(
        "zoolet.admin.usersFile",
        Text("file"),
        "who may use the admin endpoint and the metrics, see"
        " [operating.md](operating.md#operators); the server reads it again when it changes. If it"
        " is not set, everybody may",
    ),
    own_key(
        "zoolet.metricsHttps",
        Flag(False),
        "`metricsProvider.httpPort` accepts only HTTPS, with the stores of the admin endpoint",
    ),
)
