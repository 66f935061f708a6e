"""JAAS files: what Java accepts, and errors that name the line and show no password."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.model.jaas import JaasError, parse_jaas

NAMES = st.text("abcXYZ019._$-", min_size=1, max_size=8)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_a_file_of_a_server() -> None:
    text = """
    // users of the server
    Server {
        org.apache.zookeeper.server.auth.DigestLoginModule required
        user_super="a\\"b" /* two
        lines */ user_bob=plain;
    };
    # the login of a client
    Client { A.B optional username="c" ; };
    Empty { };
    """
    found = parse_jaas(text)
    [module] = found["Server"]
    assert module.class_name == "org.apache.zookeeper.server.auth.DigestLoginModule"
    assert module.options == {"user_super": 'a"b', "user_bob": "plain"}
    assert found["Client"][0].options == {"username": "c"}
    assert found["Empty"] == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Server", "the file ends where { is missing"),
        ("Server {\n A required\n x = ; };", "line 3: the value of x is missing"),
        ("Server { A x=y; };", "behind A, one of optional, required, requisite, sufficient"),
        ("Server { A required x y; };", "line 1: = is missing"),
        ("Server { A required\n}", "line 2: the name of an option is missing"),
        ("Server { }", "the file ends where ; is missing"),
        ("Server { }; Server { };", "the section Server is there twice"),
        ('Server { A required\n x="secret', "line 2: a quote or a comment has no end"),
        ("/* x", "has no end"),
    ],
)
def test_what_is_no_jaas_file(text: str, message: str) -> None:
    with pytest.raises(JaasError) as caught:
        parse_jaas(text)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_representation_shows_no_values() -> None:
    assert "secret" not in repr(parse_jaas('S { A required user_x="secret"; };'))


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=4))
def test_what_is_written_is_read(sections: dict[str, dict[str, str]]) -> None:
    text = "".join(
        f"{name} {{ A required {' '.join(f'{k}={quoted(v)}' for k, v in options.items())}; }};\n"
        for name, options in sections.items()
    )
    found = {name: modules[0].options for name, modules in parse_jaas(text).items()}
    assert found == sections


@given(st.text(st.sampled_from('aA ={};"\\/*#\n'), max_size=40) | st.text(max_size=40))
def test_any_text_is_a_jaas_file_or_has_an_error(text: str) -> None:
    with contextlib.suppress(JaasError):
        parse_jaas(text)
