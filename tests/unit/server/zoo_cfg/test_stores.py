"""Key stores and trust stores in zoo.cfg: which format a store has, and its password."""

from pathlib import Path

import pytest

from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import StoreConfig, StoreFormat
from zoolet.server.zoo_cfg.settings import Settings
from zoolet.server.zoo_cfg.stores import password_of, store

PREFIX = "ssl.keyStore"


def read(text: str) -> StoreConfig | None:
    return store(Settings(Path("zoo.cfg"), text), PREFIX)


def test_without_a_location_there_is_no_store() -> None:
    assert read("ssl.keyStore.type=PEM\nssl.keyStore.password=x\n") is None


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("a.pem", "", StoreFormat.PEM),
        ("a.p12", "", StoreFormat.PKCS12),
        ("a.jks", "", StoreFormat.PKCS12),
        ("a.PEM", "", StoreFormat.PEM),
        ("a.jks", "PEM", StoreFormat.PEM),
        ("a", "pkcs12", StoreFormat.PKCS12),
        ("a.pem", "JKS", StoreFormat.PKCS12),
    ],
)
def test_the_type_or_the_name_decides_the_format(name: str, kind: str, wanted: StoreFormat) -> None:
    found = read(f"ssl.keyStore.location=/{name}\nssl.keyStore.type={kind}\n")
    assert found == StoreConfig(PREFIX, Path(f"/{name}"), wanted, "", None)
    assert found.files == (Path(f"/{name}"),)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        (
            "a.crt",
            "",
            "zoo.cfg:1: /a.crt: its name does not show its format: set ssl.keyStore.type=",
        ),
        ("a", "", "its name does not show its format"),
        ("a.bcfks", "", "-srckeystore /a.bcfks -srcstoretype BCFKS -destkeystore /a.p12"),
        ("a", "bcfks", "has the format BCFKS, which zoolet does not read"),
        ("a.pem", "DER", "zoo.cfg:2: ssl.keyStore.type=DER is not supported"),
    ],
)
def test_other_formats_are_refused(name: str, kind: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"ssl.keyStore.location=/{name}\nssl.keyStore.type={kind}\n")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("content", "password"),
    [("secret", "secret"), ("secret\n", "secret"), (" se cret \r\n", " se cret "), ("", "")],
)
def test_the_file_of_the_password_replaces_the_password(
    tmp_path: Path, content: str, password: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content.encode())
    lines = f"ssl.keyStore.location=/a.pem\nssl.keyStore.passwordPath={file}\n"
    found = read(lines + "ssl.keyStore.password=other\n")
    assert found is not None
    assert found.files == (Path("/a.pem"), file)
    assert password_of(found) == password
    file.write_text("new")
    assert password_of(found) == "new"


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"\xff", "is not UTF-8")])
def test_a_file_of_the_password_that_cannot_be_read(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read(f"ssl.keyStore.location=/a.pem\nssl.keyStore.passwordPath={file}\n")
    assert said in str(refused.value)
    assert "zoo.cfg:2" in str(refused.value)


def test_a_store_does_not_show_its_password() -> None:
    found = read("ssl.keyStore.location=/a.pem\nssl.keyStore.password=hidden\n")
    assert found is not None
    assert found.password == "hidden"
    assert "hidden" not in repr(found)
