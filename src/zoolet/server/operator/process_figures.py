"""The figures of the server's process and of its disks. Only the metrics show them.

The names of the process's figures are those of Prometheus' client libraries. Apache ZooKeeper's
metrics have them too. A figure that the system does not provide is missing.
"""

import os
import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from zoolet.process.memory import resident_bytes
from zoolet.server.zoo_cfg.config import Config


def process_figures(config: Config) -> Iterator[Metric]:
    """Yield the memory and the CPU time of this process, and the space on its disks."""
    if resident := resident_bytes():
        yield GaugeMetricFamily(
            "process_resident_memory_bytes", "Resident memory in bytes.", resident
        )
    yield CounterMetricFamily(
        "process_cpu_seconds", "CPU time of the process in seconds.", time.process_time()
    )
    yield from _disk_figures(config)


def _disk_figures(config: Config) -> Iterator[Metric]:
    free = GaugeMetricFamily(
        "zoolet_disk_free_bytes",
        "Bytes that the server can still write on the disk of a directory.",
        labels=["directory"],
    )
    size = GaugeMetricFamily(
        "zoolet_disk_size_bytes", "Size of the disk of a directory.", labels=["directory"]
    )
    directories = (("dataDir", config.data_dir), ("dataLogDir", config.data_log_dir))
    for key, directory in directories:
        if directory is None:
            continue
        try:
            disk = os.statvfs(directory)
        except OSError:
            continue
        free.add_metric([key], disk.f_bavail * disk.f_frsize)
        size.add_metric([key], disk.f_blocks * disk.f_frsize)
    yield free
    yield size
