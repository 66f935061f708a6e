"""Secrets that zoo.cfg refers to: files, environment variables, and errors without secrets."""

import codecs
import random
from pathlib import Path

import pytest

from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import Config
from zoolet.server.zoo_cfg.keys import KEYS
from zoolet.server.zoo_cfg.reading import parse_config, read_config
from zoolet.server.zoo_cfg.references import SecretError, is_reference, resolved
from zoolet.server.zoo_cfg.settings import is_secret

BASE = "dataDir=/data\nclientPort=2181\n"
SECRET = "0123456789abcdef-secret"


def parse(text: str, environment: dict[str, str] | None = None, **overrides: str) -> Config:
    return parse_config(BASE + text, Path("zoo.cfg"), overrides, environment)


def test_a_file_and_a_variable(tmp_path: Path) -> None:
    path = tmp_path / "a secret file"
    path.write_text(f"  {SECRET}\r\n\n")
    assert resolved(f"${{file:{path}}}", {}) == SECRET
    path.write_bytes(codecs.BOM_UTF8 + SECRET.encode())
    assert resolved(f"${{file:{path}}}", {}) == SECRET
    assert resolved("${env:ZK_SECRET}", {"ZK_SECRET": SECRET}) == SECRET
    assert resolved("${env:ZK_SECRET} ", {}) == "${env:ZK_SECRET} "
    for value in ("plain", "${other:x}", "x${env:A}", "${env:A", "$env:A", "${}"):
        assert not is_reference(value)
        assert resolved(value, {}) == value


def test_the_keys_of_secrets(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    reference = f"${{file:{path}}}"
    assert parse(f"zoolet.sessionSecret={reference}\n", {}).session_secret == SECRET
    key = "DigestAuthenticationProvider.superDigest"
    variables = {"SUPER": "super:hash"}
    assert parse(f"{key}=${{env:SUPER}}\n", variables).digests.super_digest == "super:hash"
    config = parse("zoolet.saslPassword.bob=${env:BOB}\n", {"BOB": SECRET})
    assert config.sasl is not None
    assert config.sasl.users.own == {"bob": SECRET}


def test_a_property_of_java_may_refer_too() -> None:
    flags = {"zookeeper.zoolet.sessionSecret": "${env:A}"}
    config = parse_config(BASE, Path("zoo.cfg"), flags, {"A": SECRET})
    assert config.session_secret == SECRET


def test_other_commands_need_no_secrets() -> None:
    config = parse("zoolet.sessionSecret=${env:X}\nzoolet.saslPassword.a=${file:/missing}\n")
    assert config.session_secret.startswith("the value of ${env:X}")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("${env:MISSING}", "the environment variable MISSING is not set"),
        ("${env:}", "the environment variable  is not set"),
        ("${env:EMPTY}", "${env:EMPTY} is empty"),
        ("${FILE:/missing}", "is no reference: write file and env in lower case"),
        ("${file:/missing}", "the file /missing cannot be read: No such file or directory"),
        ("${file:/}", "the file / cannot be read: Is a directory"),
        ("${file:BINARY}", "BINARY cannot be read: it is not UTF-8"),
        ("${file:BLANK}", "BLANK} is empty"),
        ("${file:LONG}", "LONG is longer than 64 KiB"),
    ],
)
def test_a_reference_that_cannot_be_followed(tmp_path: Path, reference: str, message: str) -> None:
    (tmp_path / "BINARY").write_bytes(b"\xff" + SECRET.encode())
    (tmp_path / "BLANK").write_text(" \n")
    (tmp_path / "LONG").write_text(SECRET * 10_000)
    place = str(tmp_path) + "/"
    for name in ("BINARY", "BLANK", "LONG"):
        reference = reference.replace(name, place + name)
    with pytest.raises(ConfigError) as found:
        parse(f"zoolet.sessionSecret={reference}\n", {"EMPTY": ""})
    text = str(found.value).replace(place, "")
    assert text.startswith("zoo.cfg:3: zoolet.sessionSecret: ")
    assert message in text
    assert SECRET not in text


@pytest.mark.parametrize("key", ["tickTime", "dataLogDir", "zoolet.crlFile", "admin.serverAddress"])
def test_only_secrets_may_refer(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} cannot refer to a file or a variable"):
        parse(f"{key}=${{env:X}}\n", {"X": "1"})


def test_the_path_of_a_secret_is_no_secret() -> None:
    with pytest.raises(ConfigError, match="passwordPath cannot refer"):
        parse("ssl.keyStore.passwordPath=${file:/x}\n", {})


def test_every_key_for_a_password_is_a_secret() -> None:
    described = {name for name, key in KEYS.items() if "password" in str(key.value).lower()}
    assert described
    assert all(is_secret(name) for name in described)


def test_secrets_and_unknown_keys_are_not_shown() -> None:
    config = parse(
        f"ssl.keyStore.password={SECRET}\nmy.pasword={SECRET}\nssl.trustStore.password={SECRET}\n"
        f"zoolet.saslPassword.x={SECRET}\nzoolet.quorumPassword={SECRET}\n",
        {},
    )
    shown = (config.text, repr(config), str(config.settings), *config.warnings)
    assert SECRET not in "".join(shown)
    assert config.settings["my.pasword"] == "(not shown)"
    assert "my.pasword is not a known key" in "".join(config.warnings)


def test_a_refused_secret_is_not_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    secrets = [name for name, key in KEYS.items() if key.use.value == "refused" and is_secret(name)]
    for name in secrets:
        path.write_text(f"{BASE}{name}={SECRET}\n")
        with pytest.raises(ConfigError) as found:
            read_config(path, None, {})
        assert SECRET not in str(found.value)


@pytest.mark.parametrize("seed", range(10))
def test_random_references_give_a_text_or_the_documented_error(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    (tmp_path / "x").write_bytes(bytes(chance.choices(range(256), k=20)))
    pieces = ["${", "}", "file:", "env:", str(tmp_path), "/x", "A", "\0", "\n", "é", "..", " ", "$"]
    for _ in range(300):
        value = "".join(chance.choices(pieces, k=chance.randrange(8)))
        try:
            found = resolved(value, {"A": "a"})
        except SecretError:
            continue
        assert found == value or is_reference(value)
