"""What docs/compatibility.md says of a key of zoo.cfg is what the server does with it."""

import re
from pathlib import Path

import pytest

from zoolet.server.config import ConfigError, parse_config

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
SECTION = PAGE.read_text().split("## zoo.cfg")[1]
ROWS = re.findall(r"^\| ([\w.]+) \| (same|refused|passed over) \|", SECTION, re.MULTILINE)

VALUES = {
    "snapshot.compression.method": "gz",
    "DigestAuthenticationProvider.digestAlg": "SHA1",
    "admin.serverAddress": "127.0.0.1",
    "authProvider.x509": "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
    "admin.commandURL": "/commands",
    "clientPortAddress": "127.0.0.1",
    "dataDir": "/data",
    "dataLogDir": "/log",
    "jute.maxbuffer": "4096",
    "metricsProvider.className": "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "metricsProvider.httpHost": "127.0.0.1",
    "minSessionTimeout": "10000",
    "maxSessionTimeout": "10000",
    "ssl.clientAuth": "want",
}


def test_the_table_is_there() -> None:
    assert len(ROWS) > 60


@pytest.mark.parametrize(("key", "said"), ROWS)
def test_a_key_is_taken_as_the_page_says(key: str, said: str) -> None:
    minimum = {
        "dataDir": "/data",
        "clientPort": "2181",
        "enforce.auth.schemes": "digest",
        "ssl.keyStore.location": "server.pem",
        "ssl.trustStore.location": "authority.pem",
    }
    lines = "".join(
        f"{name}={value}\n" for name, value in (minimum | {key: VALUES.get(key, "5")}).items()
    )
    if said == "refused":
        with pytest.raises(ConfigError, match=key):
            parse_config(lines, Path("zoo.cfg"))
    else:
        warnings = parse_config(lines, Path("zoo.cfg")).warnings
        assert bool(warnings) == (said == "passed over")
