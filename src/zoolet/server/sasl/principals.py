"""The name of a user that ACLs contain, made of the name with which the user logged in.

A name of Kerberos is ``service/host@REALM``. Rules shorten it. Source: ``KerberosName`` and
``SaslServerCallbackHandler`` of Apache ZooKeeper. Apache uses the regular expressions of Java;
those of Python mean the same for the expressions that such rules have.
"""

import re
from typing import Final, NamedTuple

from zoolet.state_machine.access import PRINCIPAL

_RULE: Final = re.compile(
    r"\s*(?:(?P<default>DEFAULT)|RULE:\[(?P<count>\d*):(?P<format>[^\]]*)](?:\((?P<match>[^)]*)\))?"
    r"(?:s/(?P<from>[^/]*)/(?P<to>[^/]*)/(?P<all>g)?)?)"
)
_PARAMETER: Final = re.compile(r"\$(\d+)")
_REPLACEMENT: Final = re.compile(r"\\(?P<letter>.)|\$(?P<number>\d+)|(?P<text>[^\\$]+)", re.DOTALL)
_NOT_SIMPLE: Final = re.compile("[/@]")


class PrincipalError(ValueError):
    """A name or a rule cannot be used; the message says why."""


class _Rule(NamedTuple):
    """A rule of ``security.auth_to_local``; a default rule has no format.

    Attributes:
        parts: the number of parts of the names for which the rule is, without the realm.
        format: the new name, with ``$0`` for the realm, ``$1`` and ``$2`` for the parts.
        match: the names that the rule changes; None: all.
        pattern: the part of the new name that ``replacement`` replaces; None: nothing is replaced.
        replacement: the texts, and the numbers of the groups of ``pattern``, that replace the part.
        replaces_all: whether each such part is replaced, and not only the first.
    """

    parts: int
    format: str | None
    match: re.Pattern[str] | None = None
    pattern: re.Pattern[str] | None = None
    replacement: tuple[str | int, ...] = ()
    replaces_all: bool = False

    def apply(self, names: tuple[str, ...], default_realm: str) -> str | None:
        """Return the short name of (realm, service[, host]); None if the rule is not for it."""
        if self.format is None:
            found = names[1] if names[0] == default_realm else None
        else:
            found = self._formatted(names)
        if found is not None and _NOT_SIMPLE.search(found):
            raise PrincipalError(
                f"a rule of security.auth_to_local makes {found!r}, which has / or @"
            )
        return found

    def _formatted(self, names: tuple[str, ...]) -> str | None:
        if len(names) - 1 != self.parts:
            return None
        base = _PARAMETER.sub(lambda match: _part(names, int(match[1])), self.format or "")
        if self.match is not None and self.match.fullmatch(base) is None:
            return None
        if self.pattern is None:
            return base
        return self.pattern.sub(self._replaced, base, count=0 if self.replaces_all else 1)

    def _replaced(self, found: re.Match[str]) -> str:
        return "".join(
            part if isinstance(part, str) else found[part] or "" for part in self.replacement
        )


def _part(names: tuple[str, ...], number: int) -> str:
    if number >= len(names):
        raise PrincipalError(f"a rule of security.auth_to_local names the part ${number}")
    return names[number]


class NameRules:
    """Makes the names in ACLs.

    Args:
        rules: the text of ``security.auth_to_local``.
        default_realm: the default realm of Kerberos on this machine; "" if there is none.
        removes_host: whether the host is left out (``kerberos.removeHostFromPrincipal``).
        removes_realm: whether the realm is left out (``kerberos.removeRealmFromPrincipal``).

    Raises:
        PrincipalError: the rules are invalid.
    """

    def __init__(
        self,
        rules: str = "DEFAULT",
        default_realm: str = "",
        *,
        removes_host: bool = False,
        removes_realm: bool = False,
    ) -> None:
        self._rules = _parse(rules)
        self._default_realm = default_realm
        self._removes_host = removes_host
        self._removes_realm = removes_realm

    def name_of(self, login: str) -> str:
        """Return the name in ACLs of the user who logged in as ``login``.

        If no rule is for the name, the name stays as it is.

        Raises:
            PrincipalError: the name has several ``@``, or a ``/`` behind its ``@``.
        """
        match = PRINCIPAL.fullmatch(login)
        if match is None:
            if "@" in login:
                raise PrincipalError(f"{login!r} is not a name like service/host@REALM")
            return login
        service, host, realm = match["service"], match["host"], match["realm"]
        names = (realm, service) if host is None else (realm, service, host)
        try:
            short = self._short(names)
        except PrincipalError:
            return login
        if short is None:
            return login
        if host is not None and not self._removes_host:
            short += f"/{host}"
        return short if self._removes_realm else f"{short}@{realm}"

    def _short(self, names: tuple[str, ...]) -> str | None:
        for rule in self._rules:
            found = rule.apply(names, self._default_realm)
            if found is not None:
                return found
        return None


def _parse(text: str) -> tuple[_Rule, ...]:
    rules: list[_Rule] = []
    rest = text.strip()
    while rest:
        match = _RULE.match(rest)
        if match is None:
            raise PrincipalError(f"{rest!r} is not a rule like DEFAULT or RULE:[2:$1](.*)s/a/b/g")
        rest = rest[match.end() :].strip()
        if match["default"] is not None:
            rules.append(_Rule(0, None))
            continue
        try:
            rules.append(_rule(match))
        except (re.error, ValueError, OverflowError, RecursionError) as error:
            raise PrincipalError(
                f"{match[0].strip()!r} has an invalid expression: {error}"
            ) from None
    return tuple(rules)


def _rule(match: re.Match[str]) -> _Rule:
    pattern = None if match["from"] is None else re.compile(match["from"])
    return _Rule(
        int(match["count"] or "0"),
        match["format"],
        None if match["match"] is None else re.compile(match["match"]),
        pattern,
        () if pattern is None else _replacement(match["to"], pattern.groups),
        match["all"] is not None,
    )


def _replacement(text: str, groups: int) -> tuple[str | int, ...]:
    """Return the parts of a replacement in Java's form: ``$1`` is a group, a backslash escapes.

    Further digits belong to the number only while there is such a group. Raises ValueError. Source:
    ``java.util.regex.Matcher.appendReplacement``.
    """
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        found = _REPLACEMENT.match(text, position)
        if found is None:
            raise ValueError(f"{text[position:]!r} is neither a group like $1 nor a text")
        position = found.end()
        if found["number"] is None:
            parts.append(found["letter"] or found["text"])
            continue
        digits = found["number"]
        while len(digits) > 1 and int(digits) > groups:
            digits = digits[:-1]
        if int(digits) > groups:
            raise ValueError(f"the group ${digits} does not exist")
        parts.append(int(digits))
        position = found.start() + 1 + len(digits)
    return tuple(parts)
