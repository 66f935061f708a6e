"""``zoolet init``: create a commented zoo.cfg and an empty data directory.

Invariant: a file that exists is never changed. This module does not start servers.
"""

import os
from pathlib import Path
from typing import Final

import click

from zoolet.console.reporting import fail, reporting
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.properties import format_property
from zoolet.server.zoo_cfg.reading import parse_config

_NAME: Final = "zoo.cfg"
_DATA: Final = "data"

_TEMPLATE: Final = """\
# The configuration of a ZooKeeper server. zoolet and Apache ZooKeeper read this file. The keys and
# their values are listed in docs/compatibility.md.

# The directory of the snapshots and of the transaction log. If dataLogDir is set, the transaction
# log is in that directory: the server is faster if it is on another disk.
{data_dir}#dataLogDir=/path/on/another/disk

# The port and the address for clients. Without clientPortAddress, the server accepts clients from
# all networks of this machine. Remove clientPortAddress only if ACLs protect the znodes.
clientPort={port}
clientPortAddress=127.0.0.1

# The length of a tick, in ms. A session timeout has from 2 to 20 ticks.
tickTime=2000

# The most connections from one address; 0: no limit.
maxClientCnxns=60

# Every hour, the server removes old snapshots and logs. It keeps the newest three snapshots.
autopurge.snapRetainCount=3
autopurge.purgeInterval=1

# The admin endpoint: http://127.0.0.1:8080/commands. It has no access control,
# unless zoolet.admin.usersFile is set.
admin.serverAddress=127.0.0.1
admin.serverPort=8080
#admin.enableServer=false

# The four-letter words that clients may send, for example: echo ruok | nc 127.0.0.1 {port}
4lw.commands.whitelist=ruok, srvr, stat, mntr

# Metrics for Prometheus: remove the # and set the port.
#metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider
#metricsProvider.httpHost=127.0.0.1
#metricsProvider.httpPort=7000
"""


@click.command("init")
@click.argument(
    "directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", default="."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=2181,
    show_default=True,
    help="The port for clients.",
)
@reporting(ConfigError)
def init(directory: Path, port: int) -> None:
    """Create DIR/zoo.cfg and the data directory DIR/data; DIR is by default the working directory.

    An existing zoo.cfg is not changed.
    """
    directory = directory.absolute()
    config = directory / _NAME
    data = directory / _DATA
    text = _TEMPLATE.format(data_dir=format_property("dataDir", str(data)), port=port)
    if parse_config(text, config).data_dir != data:
        fail(f"zoolet: zoo.cfg cannot contain the path {str(data)!r}. Name another directory.")
    data.mkdir(parents=True, exist_ok=True)
    try:
        _write_new(config, text)
    except FileExistsError:
        fail(f"zoolet: {config} exists already and was not changed. Name another directory.")
    click.echo(f"Created {config} and {data}.")
    click.echo(f"Start the server:  zkServer.sh start {click.format_filename(config)}")


def _write_new(path: Path, text: str) -> None:
    """Write a new file; other processes see either no file or the file with the complete text."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.link(temporary, path)  # raises FileExistsError if the path exists
    finally:
        temporary.unlink(missing_ok=True)
