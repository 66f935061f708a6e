"""What SASL, ACLs and TLS cost getData, and all three together beside Apache ZooKeeper.

In each round, every server is started on an empty data directory, warmed up, and asked for getData
on 16 connections with 32 outstanding requests each, by the load generator in C. It logs in with
DIGEST-MD5, and its TLS is that of OpenSSL: both servers negotiate the same suite of TLSv1.3. Prints
the medians of the rates and of the ratios of the rounds. Usage: see --help.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.native import run_load
from zoolet.testing import ReservedPort

CONNECTIONS: Final = 16
OUTSTANDING: Final = 32
USER, PASSWORD = "bob", "bobsecret"
_PROVIDER: Final = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
_JAAS: Final = f"""
Server {{
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_{USER}="{PASSWORD}";
}};
"""


class Variant(NamedTuple):
    """A server and its clients, as they are measured.

    Attributes:
        name: the name in the table.
        has_sasl: whether the clients log in with SASL.
        has_acl: whether only the user may read the znodes.
        has_tls: whether the clients use TLS.
        is_apache: whether the server is Apache ZooKeeper.
    """

    name: str
    has_sasl: bool = False
    has_acl: bool = False
    has_tls: bool = False
    is_apache: bool = False


PLAIN: Final = Variant("none of them")
SASL: Final = Variant("SASL", has_sasl=True)
ACLS: Final = Variant("ACLs", has_acl=True)
TLS: Final = Variant("TLS", has_tls=True)
ALL: Final = Variant("all three", has_sasl=True, has_acl=True, has_tls=True)
APACHE: Final = ALL._replace(name="Apache, all three", is_apache=True)
VARIANTS: Final = (PLAIN, SASL, ACLS, TLS, ALL, APACHE)


class Wanted(NamedTuple):
    """A line of the verdict: the rate of one variant divided by that of another."""

    measured: Variant
    base: Variant
    least: float


WANTED: Final = (
    Wanted(SASL, PLAIN, 1.0),
    Wanted(ACLS, PLAIN, 0.9),
    Wanted(TLS, PLAIN, 0.8),
    Wanted(ALL, APACHE, 10.0),
)
_EQUAL: Final = 0.97
"""A ratio that should be 1 has reached it from this value on, as in the comparison of versions."""

Rates = dict[str, list[float]]
"""The requests a second of each round, by the name of the variant."""


def _write_stores(directory: Path) -> Mapping[str, object]:
    """Return the settings for TLS. Apache ZooKeeper reads keys in PKCS #8 only."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    store, trusted = directory / "server.pem", directory / "authority.pem"
    store.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    )
    authority.cert_pem.write_to_path(trusted)
    return {
        "ssl.keyStore.location": store,
        "ssl.trustStore.location": trusted,
        "ssl.clientAuth": "none",
    }


@contextmanager
def _running(variant: Variant) -> Iterator[int]:
    """Run the server of a variant, and yield the port for its clients."""
    with servers.scratch() as home:
        secure = ReservedPort()
        jaas = home / "jaas.conf"
        jaas.write_text(_JAAS)
        settings: dict[str, object] = {}
        options: tuple[str, ...] = ()
        if variant.has_sasl:
            settings["authProvider.1"] = _PROVIDER
            options = (f"-Djava.security.auth.login.config={jaas}",)
        if variant.has_tls:
            settings |= _write_stores(home)
            settings["secureClientPort"] = secure.number
            settings["secureClientPortAddress"] = "127.0.0.1"
        started: AbstractContextManager[servers.Running]
        if variant.is_apache:
            settings["serverCnxnFactory"] = "org.apache.zookeeper.server.NettyServerCnxnFactory"
            started = servers.apache(home / "server", settings, options)
        else:
            if variant.has_sasl:
                settings["java.security.auth.login.config"] = jaas
            started = servers.zoolet(home / "server", settings)
        with started as server:
            yield secure.number if variant.has_tls else server.port
        secure.release()


def measure_once(variant: Variant, options: argparse.Namespace) -> float:
    """Return the requests a second; ``options`` has ``warmup`` and ``seconds``."""
    environment: dict[str, object] = {}
    if variant.has_sasl:
        environment["SASL"] = f"{USER}:{PASSWORD}"
        if variant.has_acl:
            environment["ACL"] = 1
    elif variant.has_acl:
        environment["AUTH"] = f"{USER}:{PASSWORD}"
    with _running(variant) as port:
        printed = run_load(
            *("requests", port, CONNECTIONS, OUTSTANDING),
            *(options.warmup, options.seconds, "get"),
            settings=environment,
            tls=variant.has_tls,
            sasl=variant.has_sasl,
        )
    return float(printed["per_s"])


def measure(options: argparse.Namespace) -> Rates:
    """Run every variant in each round; every second round in reverse."""
    progress = Console(stderr=True)
    rates: Rates = {variant.name: [] for variant in VARIANTS}
    for number in range(options.rounds):
        for variant in VARIANTS[:: 1 if number % 2 == 0 else -1]:
            rate = measure_once(variant, options)
            rates[variant.name].append(rate)
            progress.print(f"{variant.name}: {rate:,.0f}/s", soft_wrap=True)
    return rates


def verdict(wanted: Wanted, rates: Rates) -> tuple[float, bool]:
    """Return the median of the ratios of the rounds, and whether it has reached the least."""
    pairs = zip(rates[wanted.measured.name], rates[wanted.base.name], strict=True)
    ratio = statistics.median(measured / base for measured, base in pairs)
    least = _EQUAL if wanted.least == 1.0 else wanted.least
    return ratio, ratio >= least


def show(rates: Rates) -> tuple[Table, bool]:
    """Return the table, and whether all that is wanted has been reached."""
    table = Table("getData with", "per s", "beside", "per s", "ratio", "wanted", "verdict")
    all_reached = True
    for wanted in WANTED:
        ratio, is_reached = verdict(wanted, rates)
        all_reached &= is_reached
        table.add_row(
            wanted.measured.name,
            f"{statistics.median(rates[wanted.measured.name]):,.0f}",
            wanted.base.name,
            f"{statistics.median(rates[wanted.base.name]):,.0f}",
            f"{ratio:.2f}",
            f"≥ {wanted.least:g}",
            "[green]reached" if is_reached else "[red]missed",
        )
    return table, all_reached


def main() -> None:
    """Measure and print; the exit status is 1 if something that is wanted is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=5.0)
    parser.add_argument("--json", type=Path, help="write all rates to this file")
    options = parser.parse_args()
    servers.touch_memory()
    servers.write_bytecode(None)
    rates = measure(options)
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1))
    table, all_reached = show(rates)
    Console(width=120).print(table)
    if not all_reached:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
