"""The same names, random ones, to Java's X500Principal and to ours."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.der import random_name
from tests.support.skips import needs
from zoolet.server.sockets.distinguished_names import name_as_text

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
