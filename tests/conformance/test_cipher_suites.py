"""All cipher suites that Java enables by default have a name in OpenSSL."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.support.skips import needs
from zoolet.server.sockets.tls import select_versions

PROGRAM = """
import javax.net.ssl.SSLContext;

public class Suites {
  public static void main(String[] arguments) throws Exception {
    for (String name : SSLContext.getDefault().getDefaultSSLParameters().getCipherSuites())
      System.out.println(name);
  }
}
"""


@pytest.mark.skipif(shutil.which("javac") is None, reason=needs("a JDK", "default-jdk-headless"))
def test_java_s_suites_can_be_selected(tmp_path: Path) -> None:
    source = tmp_path / "Suites.java"
    source.write_text(PROGRAM)
    ran = subprocess.run(
        ["java", str(source)], capture_output=True, text=True, check=True, timeout=120
    )
    names = ran.stdout.split()
    assert len(names) > 20
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    select_versions(context, ("TLSv1.2", "TLSv1.3"), tuple(names), "ssl")
    not_selected = {"TLS_EMPTY_RENEGOTIATION_INFO_SCSV"}
    assert len(context.get_ciphers()) == len(set(names) - not_selected)
