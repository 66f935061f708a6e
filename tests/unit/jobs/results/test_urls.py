"""The URLs of result stores that a program gets, and what messages show of them."""

import random
from pathlib import Path

import pytest

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.results.store import place_of
from zoolet.jobs.results.urls import StoreUrls, parse_store_urls


def test_options_name_stores_and_a_url_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:p=w@h/d\n")
    found = parse_store_urls(["a=sqlite:///x.db?y=1", f"b=@{tmp_path}/url", "a=sqlite:///z.db"])
    assert found == {"a": "sqlite:///z.db", "b": "postgresql://u:p=w@h/d"}
    assert StoreUrls(found).find("c") is None


@pytest.mark.parametrize(
    "text", ["secret://x", "=secret://x", "a b=secret://x", "a=secret", "a=", "a=@/nowhere/secret"]
)
def test_an_invalid_option_is_refused_without_its_url(text: str) -> None:
    with pytest.raises(InvalidJobError, match="result store") as raised:
        parse_store_urls([text])
    assert "secret" not in str(raised.value).replace("/nowhere/secret", "")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql+psycopg://ann:pw@host:5432/db?sslmode=x", "postgresql://host:5432/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://ann:p/w@host/db", "postgresql://..."),
        ("postgresql://ann:p?w@host/db", "postgresql://..."),
        ("postgresql://host/db?password=p@w", "postgresql://..."),
        ("postgresql://host?password=pw", "postgresql://..."),
        ("mysql://a:b@c:d@host/db", "mysql://host/db"),
        ("sqlite:////var/x.db?mode=ro", "sqlite:////var/x.db"),
        ("ann:pw@host", "(not a URL)"),
    ],
)
def test_the_place_of_a_store_has_no_password(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize("seed", range(5))
def test_no_random_password_is_shown(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2000):
        password = "Q" + "".join(chance.choices("Q@/?:#&=%", k=5)) + "Q"
        more = chance.choice(["", f"?password={password}", f"?x=1&y={password}"])
        url = f"postgresql+psycopg://ann:{password}@host:1/db{more}"
        assert "Q" not in place_of(url), url
