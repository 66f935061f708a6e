"""The programs in C that a benchmark compiles: load generators and, as the limit, an echo."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_SOURCES: Final = Path(__file__).parent
_BUILT: Final = Path(__file__).parents[2] / ".cache" / "benchmarks"
_MARGIN_S: Final = 120.0

_TLS_OPTIONS: Final = ("-DTLS", "-DSASL", "-lssl", "-lcrypto")
_SASL_OPTIONS: Final = ("-DSASL", "-lcrypto")
_OPTIONS: Final = {
    "client_load": ("-lzookeeper_st",),
    "syncs": ("-shared", "-fPIC", "-ldl"),
}
"""What else the compiler needs for a program."""

LOAD, REDIS_LOAD, CLIENT_LOAD = "load", "redis_load", "client_load"
"""The load generators: with the protocol of ZooKeeper, that of Redis, and Apache's C client."""


def build(name: str, *, tls: bool = False, sasl: bool = False) -> Path:
    """Compile ``NAME.c`` if it or a header has changed, and return the program.

    With ``tls`` it speaks TLS, and with ``tls`` or ``sasl`` it can log in with SASL. Both need
    OpenSSL's headers (Debian's libssl-dev). ``client_load`` needs Debian's libzookeeper-st-dev.
    """
    kind = "-tls" if tls else "-sasl" if sasl else ""
    source, program = _SOURCES / f"{name}.c", _BUILT / f"{name}{kind}"
    changed_s = max(path.stat().st_mtime for path in (source, *_SOURCES.glob("*.h")))
    if not program.exists() or program.stat().st_mtime < changed_s:
        _BUILT.mkdir(parents=True, exist_ok=True)
        options = _TLS_OPTIONS if tls else _SASL_OPTIONS if sasl else _OPTIONS.get(name, ())
        with tempfile.TemporaryDirectory(dir=_BUILT) as own:
            made = Path(own) / program.name
            subprocess.run(
                ["gcc", "-O2", "-Wall", "-Wextra", "-o", made, source, *options], check=True
            )
            made.replace(program)  # another process may compile or run it at this time
    return program


def start_load(
    *arguments: object,
    settings: Mapping[str, object] | None = None,
    tls: bool = False,
    sasl: bool = False,
    program: str = LOAD,
) -> Any:
    """Start a load generator (see the head of its source); its output is piped."""
    environment = {**os.environ, **{key: str(value) for key, value in (settings or {}).items()}}
    return subprocess.Popen(
        [build(program, tls=tls, sasl=sasl), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run_load(
    *arguments: object,
    settings: Mapping[str, object] | None = None,
    tls: bool = False,
    sasl: bool = False,
    program: str = LOAD,
    timeout_s: float = _MARGIN_S,
) -> dict[str, Any]:
    """Run a load generator to its end and return what it printed.

    Raises:
        RuntimeError: the load generator failed; it has written why on standard error.
        subprocess.TimeoutExpired: it has not ended in time.
    """
    load = start_load(*arguments, settings=settings, tls=tls, sasl=sasl, program=program)
    try:
        output, _ = load.communicate(timeout=timeout_s)
    finally:
        load.kill()
        load.wait()
    if load.returncode:
        raise RuntimeError(f"the load generator failed: {program} {' '.join(map(str, arguments))}")
    printed: dict[str, Any] = json.loads(output) if output else {}
    return printed
