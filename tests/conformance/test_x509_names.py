"""Random names and certificates, to Java's X500Principal and X509Certificate and to ours."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.alternative_names import certificate_with, random_names
from tests.support.der import random_name
from tests.support.skips import needs
from zoolet.server.sockets.alternative_names import TYPES, alternative_names_in
from zoolet.server.sockets.certificate_ids import NoChosenNameError, chosen_name
from zoolet.server.sockets.distinguished_names import name_as_text
from zoolet.server.zoo_cfg.config import AlternativeNameRule

NAMES = 3000
PROGRAM = """
import java.io.*;
import java.util.HexFormat;
import javax.security.auth.x500.X500Principal;

public class Names {
  public static void main(String[] arguments) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String name = new X500Principal(HexFormat.of().parseHex(line)).getName();
      System.out.println(HexFormat.of().formatHex(name.getBytes("UTF-8")));
    }
  }
}
"""

CERTIFICATES = 400
RULES = [
    (2, ".*", ".*", 0),
    (1, "^[abc]", "[a-c]+", 0),
    (6, "^urn:", "\\((\\w+);(\\w+)\\)", 2),
    (6, "^spiffe://\\w*[0-9]", "/([^/]*)$", 1),
    (6, "z|^urn", "(q)?[a-z]+", 1),
    (7, "^\\d+\\.", "^(\\d+)\\.(\\d+)", 2),
    (7, ":", ".*", 0),
    (8, "", "[0-9]$", 0),
    (4, "CN=[abcz09]+,O=", "O=(.*)", 1),
]
"""Rules with which LinkedIn's fork and zoolet find a client's id: type, match, extract, group."""

WITHOUT_ID = 4
"""The rule whose group never takes part in a match."""

ID_PROGRAM = """
import java.io.*;
import java.security.cert.*;
import java.util.*;
import java.util.regex.*;

public class Ids {
  public static void main(String[] arguments) throws Exception {
    CertificateFactory factory = CertificateFactory.getInstance("X.509");
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      byte[] bytes = HexFormat.of().parseHex(line);
      X509Certificate certificate =
          (X509Certificate) factory.generateCertificate(new ByteArrayInputStream(bytes));
      Collection<List<?>> names = certificate.getSubjectAlternativeNames();
      StringBuilder row = new StringBuilder();
      for (List<?> name : names == null ? List.<List<?>>of() : names)
        if (name.get(1) instanceof String) row.append(name.get(0) + "=" + name.get(1) + "\\t");
      for (int at = 0; at < arguments.length; at += 4)
        row.append("\\t").append(id(names, Integer.parseInt(arguments[at]),
            Pattern.compile(arguments[at + 1]), Pattern.compile(arguments[at + 2]),
            Integer.parseInt(arguments[at + 3])));
      System.out.println(HexFormat.of().formatHex(row.toString().getBytes("UTF-8")));
    }
  }

  static String id(Collection<List<?>> names, int type, Pattern match, Pattern extract, int group) {
    List<String> found = new ArrayList<>();
    for (List<?> name : names == null ? List.<List<?>>of() : names)
      if (name.get(0).equals(type) && match.matcher((String) name.get(1)).find())
        found.add((String) name.get(1));
    if (found.size() != 1) return "-";
    Matcher matcher = extract.matcher(found.get(0));
    String id = matcher.find() ? matcher.group(group) : null;
    return id == null || id.isEmpty() ? "-" : id;
  }
}
"""


@pytest.mark.skipif(shutil.which("javac") is None, reason=needs("a JDK", "default-jdk-headless"))
@pytest.mark.parametrize("seed", [1, 2])
def test_names_are_java_s(tmp_path: Path, seed: int) -> None:
    source = tmp_path / "Names.java"
    source.write_text(PROGRAM)
    chance = random.Random(seed)
    names = [random_name(chance) for _ in range(NAMES)]
    ran = subprocess.run(
        ["java", str(source)],
        input="\n".join(name.hex() for name in names),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    theirs = [bytes.fromhex(line).decode() for line in ran.stdout.splitlines()]
    assert [name_as_text(name) for name in names] == theirs


@pytest.mark.skipif(shutil.which("javac") is None, reason=needs("a JDK", "default-jdk-headless"))
@pytest.mark.parametrize("seed", [1, 2])
def test_ids_in_alternative_names_are_java_s(tmp_path: Path, seed: int) -> None:
    source = tmp_path / "Ids.java"
    source.write_text(ID_PROGRAM)
    chance = random.Random(seed)
    certificates = [certificate_with(random_names(chance)) for _ in range(CERTIFICATES)]
    ran = subprocess.run(
        ["java", str(source), *(str(value) for rule in RULES for value in rule)],
        input="\n".join(certificate.hex() for certificate in certificates),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    theirs = [bytes.fromhex(line).decode() for line in ran.stdout.splitlines()]
    assert [row_of(certificate) for certificate in certificates] == theirs
    ids = [row.split("\t")[-len(RULES) :] for row in theirs]
    never_found = [at for at in range(len(RULES)) if all(found[at] == "-" for found in ids)]
    assert never_found == [WITHOUT_ID]


def row_of(certificate: bytes) -> str:
    """Return the alternative names and the ids of a certificate, as the program prints them."""
    names = alternative_names_in(certificate)
    assert all(kind in TYPES for kind, _ in names)
    row = "".join(f"{kind}={text}\t" for kind, text in names)
    return row + "".join(f"\t{id_of(names, *rule)}" for rule in RULES)


def id_of(names: list[tuple[int, str]], kind: int, match: str, extract: str, group: int) -> str:
    try:
        return chosen_name(
            names,
            AlternativeNameRule(
                kind, re.compile(match, re.ASCII), re.compile(extract, re.ASCII), group
            ),
        )
    except NoChosenNameError:
        return "-"
