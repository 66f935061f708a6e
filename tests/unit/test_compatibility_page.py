"""What docs/compatibility.md says of a key of zoo.cfg is what the server does with it."""

from pathlib import Path

import pytest

from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.key import Flag, Key, Number, Source, Use
from zoolet.server.zoo_cfg.keys import KEYS
from zoolet.server.zoo_cfg.reading import config_of, parse_config
from zoolet.server.zoo_cfg.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
USED_HEAD = "| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
UNUSED_HEAD = "| key | | reason |\n| --- | --- | --- |\n"
MINIMUM = "dataDir=/data\nclientPort=2181\n"


def tables() -> list[str]:
    """Return the page's two tables: of the keys that the server reads, and of the others."""
    text = PAGE.read_text().split("## zoo.cfg")[1]
    return [text.split(head)[1].split("\n\n")[0] for head in (USED_HEAD, UNUSED_HEAD)]


def default_of(key: Key) -> str:
    if key.value is None:
        return ""
    if isinstance(key.value, Number):
        return f"{key.value.default:,}"
    default = str(key.value.default).lower() if isinstance(key.value, Flag) else key.value.default
    return f"`{default}`" if default else "not set"


def row_of(key: Key) -> str:
    """Return a row as the page shows it."""
    if key.value is None:
        return f"| {key.name} | {key.use.value} | {key.note} |"
    differs = f". *{key.note}*" if key.note else ""
    name = f"{key.name} ({key.use.value})" if key.use is Use.OWN else key.name
    return f"| {name} | {key.value} | {default_of(key)} | {key.meaning}{differs} |"


def rows() -> list[str]:
    """Return both tables as they should be."""
    used = [row_of(key) for key in KEYS.values() if key.value is not None]
    unused = [row_of(key) for key in KEYS.values() if key.value is None]
    return ["\n".join(used), "\n".join(unused).rstrip()]


def test_the_page_has_the_rows_of_the_table() -> None:
    # To write them again: python -m tests.unit.test_compatibility_page
    assert [table.rstrip() for table in tables()] == rows()


def test_what_is_read_has_a_type_and_a_meaning() -> None:
    read = {Use.SAME, Use.OWN}
    for key in KEYS.values():
        assert (key.use in read) is (key.value is not None) is bool(key.meaning)


@pytest.mark.parametrize(
    "key", [key for key in KEYS.values() if isinstance(key.value, Number)], ids=lambda k: k.name
)
def test_a_number_has_the_range_of_the_table(key: Key) -> None:
    assert isinstance(key.value, Number)
    default, least, most, floor, is_long, _ = key.value

    def read(value: int | None) -> int:
        text = "" if value is None else f"{key.name}={value}\n"
        return Settings(Path("zoo.cfg"), text).number(key.name)

    width = 1 << (63 if is_long else 31)
    least, most = -width if least is None else least, width - 1 if most is None else most
    assert [read(None), read(most)] == [default, most]
    assert read(least) == (least if floor is None else floor)
    for value in (least - 1, most + 1):
        if key.source is Source.FILE or -width <= value < width:
            with pytest.raises(ConfigError, match=f"from {least} to {most}"):
                read(value)
        else:
            assert read(value) == default  # Apache ignores what does not fit.


def test_the_configuration_reads_the_keys_that_the_table_says_are_read() -> None:
    settings = Settings(Path("zoo.cfg"), MINIMUM)
    config_of(settings)
    assert settings.asked == {key.name for key in KEYS.values() if key.use in {Use.SAME, Use.OWN}}


def test_what_is_ignored_or_refused_has_a_reason() -> None:
    assert [key.name for key in KEYS.values() if key.value is None and not key.note] == []


def of_use(use: Use) -> list[Key]:
    return [key for key in KEYS.values() if key.use is use]


def name_of(key: Key) -> str:
    """Return a key that is written in a file, if the table has a prefix."""
    return key.name[:-1] + "1" if key.name.endswith((".N", ".*")) else key.name


@pytest.mark.parametrize("key", of_use(Use.IGNORED), ids=lambda key: key.name)
def test_an_ignored_key_changes_nothing_but_a_warning(key: Key) -> None:
    name = name_of(key)
    config = parse_config(f"{MINIMUM}{name}=5\n", Path("zoo.cfg"))
    assert config.warnings == (f"zoo.cfg:3: {name} is ignored: {key.note}.",)
    assert config.settings[name] in {"5", "(not shown)"}


@pytest.mark.parametrize("key", of_use(Use.REFUSED), ids=lambda key: key.name)
def test_a_refused_key_stops_the_start_unless_it_is_switched_off(key: Key) -> None:
    values = {"true", "false", "observer", "com.example.Foo"} - key.harmless
    for value in values:
        with pytest.raises(ConfigError) as refused:
            parse_config(f"{MINIMUM}{key.name}={value}\n", Path("zoo.cfg"))
        assert f"zoo.cfg:3: {key.name}={value} is not supported: {key.note}" in str(refused.value)
    for value in key.harmless:
        config = parse_config(f"{MINIMUM}{key.name}={value.upper()}\n", Path("zoo.cfg"))
        assert config.warnings == ()


if __name__ == "__main__":
    text = PAGE.read_text()
    for head, old, new in zip((USED_HEAD, UNUSED_HEAD), tables(), rows(), strict=True):
        text = text.replace(head + old.rstrip(), head + new)
    PAGE.write_text(text)
