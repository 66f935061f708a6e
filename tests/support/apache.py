"""Apache ZooKeeper in tests: skipping what needs it where there is none, and its script."""

from pathlib import Path

import pytest

from zoolet.testing.servers.apache import missing_for_apache


def require_apache(jars: Path) -> Path:
    """Return the folder of jars; skips the test where Apache ZooKeeper or Java is not there."""
    if (missing := missing_for_apache(jars)) is not None:
        pytest.skip(f"{missing} with --apache-jars (make test installs them where it may)")
    return jars


_SCRIPT = """\
#!/bin/sh
# What Apache ZooKeeper's zkServer.sh does for: --config DIR start|stop|status
config=$2
data=$(sed -n 's/^dataDir=//p' "$config/zoo.cfg")
pid_file=$data/zookeeper_server.pid
java="java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp {jars}/*"
set -f
case $3 in
start)
  if [ -e "$config/java.env" ]; then . "$config/java.env"; fi
  main=org.apache.zookeeper.server.quorum.QuorumPeerMain
  nohup $java $SERVER_JVMFLAGS $main "$config/zoo.cfg" >>"$config/zookeeper.out" 2>&1 </dev/null &
  echo $! >"$pid_file"
  ;;
stop)
  pid=$(cat "$pid_file")
  kill "$pid"
  # A process that has ended, but was not waited for, has no command line.
  while grep -qs . "/proc/$pid/cmdline"; do sleep 0.1; done
  rm "$pid_file"
  ;;
status)
  port=$(sed -n "s/^server.$(cat "$data/myid")=.*;//p" "$config/zoo.cfg")
  $java org.apache.zookeeper.client.FourLetterWordMain 127.0.0.1 "$port" srvr 2>/dev/null |
    grep '^Mode: '
  ;;
esac
"""


def write_apache_script(directory: Path, jars: Path) -> None:
    """Write a ``zkServer.sh`` that starts and stops members with the jars.

    Debian's package of the jars has no script.
    """
    directory.mkdir(parents=True)
    script = directory / "zkServer.sh"
    script.write_text(_SCRIPT.format(jars=jars))
    script.chmod(0o755)
