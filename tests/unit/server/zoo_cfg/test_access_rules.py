"""The settings of the scheme x509."""

from pathlib import Path

import pytest

from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.access_rules import x509
from zoolet.server.zoo_cfg.config import X509Config
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.server.zoo_cfg.settings import Settings

KEY = "X509AuthenticationProvider.clientCertId"
SAN = f"{KEY}Type=SAN\n{KEY}SanMatchType=6\n"


def read(text: str) -> X509Config:
    return x509(Settings(Path("zoo.cfg"), text))


@pytest.mark.parametrize("text", ["", f"{KEY}Type=SDN\n", f"{KEY}SanMatchType=99\n"])
def test_the_subject_is_the_id(text: str) -> None:
    assert read(text) == X509Config("", None)


def test_a_rule_for_alternative_names() -> None:
    found = read(SAN + f"{KEY}SanExtractRegex=a(b)\n{KEY}SanExtractMatcherGroupIndex=1\n")
    rule = found.alternative_name
    assert rule is not None
    assert (rule.kind, rule.match.pattern, rule.extract.pattern, rule.group) == (6, ".*", "a(b)", 1)
    assert read(SAN.replace("SAN", "san")).alternative_name is not None


def test_digits_are_ascii_as_in_java() -> None:
    rule = read(SAN + f"{KEY}SanMatchRegex=\\\\d\n").alternative_name
    assert rule is not None
    assert rule.match.search("7")
    assert not rule.match.search("\N{ARABIC-INDIC DIGIT SEVEN}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{KEY}Type=SAN\n", "SanMatchType must be the number of a type of names: 1 (e-mail"),
        *((SAN.replace("6", kind), "must be the number of a type") for kind in "0359"),
        (SAN + f"{KEY}SanMatchRegex=(\n", "zoo.cfg:3: ( is not a regular expression of Python"),
        (SAN + f"{KEY}SanExtractRegex=\\\\p{{Alpha}}\n", "is not a regular expression of Python"),
        (SAN + f"{KEY}SanExtractRegex=(?<name>a)\n", "is not a regular expression of Python"),
        (SAN + f"{KEY}SanExtractRegex=[a&&b]\n", "is not a regular expression of Python"),
        (SAN + f"{KEY}SanExtractRegex=[[a]b]\n", "is not a regular expression of Python"),
        (SAN + f"{KEY}SanExtractMatcherGroupIndex=1\n", "clientCertIdSanExtractRegex has 0 groups"),
    ],
)
def test_a_rule_that_cannot_be_used(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert said in str(refused.value)


def test_acls_may_name_every_alternative_name() -> None:
    minimum = "dataDir=/data\nclientPort=2181\n"
    path = Path("zoo.cfg")
    assert parse_config(minimum, path).rules.has_x509_subjects
    assert not parse_config(minimum + SAN, path).rules.has_x509_subjects
