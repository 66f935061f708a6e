"""The authentication with SASL of one server: settings that cannot be used."""

from pathlib import Path

import pytest

from zoolet.server.common.errors import ServerError
from zoolet.server.sasl.logins import SaslLogins
from zoolet.server.zoo_cfg.reading import parse_config


@pytest.mark.parametrize("rules", ["RULE", "RULE:[1:$1](*)", "RULE:[1:$1]s/(/x/", "DEFAULT x"])
def test_rules_that_cannot_be_used(rules: str) -> None:
    text = f"zoolet.saslPassword.bob=pw\nsecurity.auth_to_local={rules}\n"
    config = parse_config(f"dataDir=/data\nclientPort=2181\n{text}", Path("zoo.cfg")).sasl
    assert config is not None
    with pytest.raises(ServerError, match=r"security\.auth_to_local cannot be used: "):
        SaslLogins(config)
