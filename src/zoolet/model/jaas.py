"""Reads JAAS files, in which Apache ZooKeeper has the users and passwords of SASL.

A JAAS file has sections; a section has login modules with options::

    Server {
        org.apache.zookeeper.server.auth.DigestLoginModule required
        user_super="admin-secret"
        user_bob="bob-secret";
    };

Source: ``javax.security.auth.login.Configuration`` of Java, and ``ConfigFile`` of OpenJDK.

Invariant: any text leads to sections or to JaasError. This module does no I/O.
"""

import re
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""(?P<blank>\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/)"""
    r"""|(?P<mark>[{};=])"""
    r"""|"(?P<quoted>(?:[^"\\]|\\.)*)\""""
    r"""|(?P<word>(?!/\*)[^\s{};="]+)""",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_FLAGS: Final = frozenset({"required", "requisite", "sufficient", "optional"})


class JaasError(ValueError):
    """The text is not a JAAS file; the message has the number of the line, and no secrets."""


class LoginModule(NamedTuple):
    """A login module of a section.

    Attributes:
        class_name: the Java class.
        options: the values of the options by name.
    """

    class_name: str
    options: dict[str, str]

    def __repr__(self) -> str:
        """Return the class and the names of the options, without values: they may be passwords."""
        return f"LoginModule({self.class_name}, {sorted(self.options)})"


class _Token(NamedTuple):
    """A mark (``{``, ``}``, ``;`` or ``=``), or a text."""

    text: str
    is_mark: bool
    line: int


def parse_jaas(text: str) -> dict[str, tuple[LoginModule, ...]]:
    """Return the login modules of each section of a JAAS file. Raises JaasError."""
    tokens = _tokens(text)
    sections: dict[str, tuple[LoginModule, ...]] = {}
    while tokens:
        name = _take_text(tokens, "the name of a section")
        _take_mark(tokens, "{")
        modules: list[LoginModule] = []
        while not _is_mark(tokens, "}"):
            modules.append(_take_module(tokens))
        _take_mark(tokens, "}")
        _take_mark(tokens, ";")
        if name in sections:
            raise JaasError(f"the section {name} is there twice")
        sections[name] = tuple(modules)
    return sections


def _take_module(tokens: list[_Token]) -> LoginModule:
    class_name = _take_text(tokens, "the class of a login module")
    flag = _take_text(tokens, "required, requisite, sufficient or optional")
    if flag.lower() not in _FLAGS:
        raise JaasError(f"behind {class_name}, one of {', '.join(sorted(_FLAGS))} is missing")
    options: dict[str, str] = {}
    while not _is_mark(tokens, ";"):
        name = _take_text(tokens, "the name of an option")
        _take_mark(tokens, "=")
        options[name] = _take_text(tokens, f"the value of {name}")
    _take_mark(tokens, ";")
    return LoginModule(class_name, options)


def _tokens(text: str) -> list[_Token]:
    """Return the tokens in reverse order, so that the next one can be popped."""
    found: list[_Token] = []
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise JaasError(f"line {line}: a quote or a comment has no end")
        if match["mark"] is not None:
            found.append(_Token(match["mark"], is_mark=True, line=line))
        elif match["quoted"] is not None:
            value = _ESCAPE.sub(_unescape, match["quoted"])
            found.append(_Token(value, is_mark=False, line=line))
        elif match["word"] is not None:
            found.append(_Token(match["word"], is_mark=False, line=line))
        line += match[0].count("\n")
        position = match.end()
    found.reverse()
    return found


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[1], match[1])


def _is_mark(tokens: list[_Token], mark: str) -> bool:
    if not tokens:
        raise JaasError(f"the file ends where {mark} is missing")
    return tokens[-1].is_mark and tokens[-1].text == mark


def _take_mark(tokens: list[_Token], mark: str) -> None:
    if not _is_mark(tokens, mark):
        raise JaasError(f"line {tokens[-1].line}: {mark} is missing")
    tokens.pop()


def _take_text(tokens: list[_Token], what: str) -> str:
    if not tokens:
        raise JaasError(f"the file ends where {what} is missing")
    token = tokens.pop()
    if token.is_mark:
        raise JaasError(f"line {token.line}: {what} is missing")
    return token.text
