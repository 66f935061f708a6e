"""What docs/compatibility.md says of a key of zoo.cfg is what the server does with it."""

from pathlib import Path

import pytest

from zoolet.server.runtime.errors import ConfigError
from zoolet.server.zoo_cfg.keys import KEYS, Key, Use
from zoolet.server.zoo_cfg.reading import config_of, parse_config
from zoolet.server.zoo_cfg.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
HEAD = "| key | | |\n| --- | --- | --- |\n"
TABLE = PAGE.read_text().split("## zoo.cfg")[1].split(HEAD)[1].splitlines()
MINIMUM = "dataDir=/data\nclientPort=2181\n"


def row_of(key: Key) -> str:
    return f"| {key.name} | {key.use.value} | {key.note} |".replace("|  |", "| |")


def test_the_page_has_the_rows_of_the_table() -> None:
    # To write them again: python -m tests.unit.test_compatibility_page
    assert [row_of(key) for key in KEYS.values()] == TABLE


def test_the_configuration_reads_the_keys_that_the_table_says_are_read() -> None:
    settings = Settings(Path("zoo.cfg"), MINIMUM)
    config_of(settings)
    assert settings.asked == {key.name for key in KEYS.values() if key.use in {Use.SAME, Use.OWN}}


def test_what_is_ignored_or_refused_has_a_reason() -> None:
    assert [key.name for key in KEYS.values() if key.use is not Use.SAME and not key.note] == []


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
    before = PAGE.read_text().rpartition(HEAD)[0]
    PAGE.write_text(before + HEAD + "".join(f"{row_of(key)}\n" for key in KEYS.values()))
