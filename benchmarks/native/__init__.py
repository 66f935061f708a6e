"""The programs in C that a benchmark compiles: a load generator and, as the limit, an echo."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SOURCES = Path(__file__).parent
_BUILT = Path(__file__).parents[2] / ".cache" / "benchmarks"
_MARGIN_S = 120.0


_TLS_OPTIONS = ("-DTLS", "-DSASL", "-lssl", "-lcrypto")
_SASL_OPTIONS = ("-DSASL", "-lcrypto")


def build(name: str, *, tls: bool = False, sasl: bool = False) -> Path:
    """Compile ``NAME.c`` where that is to be done, and return the program.

    With ``tls`` it speaks TLS, and with ``tls`` or ``sasl`` it can log in with SASL. Both need
    OpenSSL's headers (Debian's libssl-dev).
    """
    kind = "-tls" if tls else "-sasl" if sasl else ""
    source, program = _SOURCES / f"{name}.c", _BUILT / f"{name}{kind}"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        _BUILT.mkdir(parents=True, exist_ok=True)
        options = _TLS_OPTIONS if tls else _SASL_OPTIONS if sasl else ()
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-Wextra", "-o", program, source, *options], check=True
        )
    return program


def start_load(
    *arguments: object,
    settings: Mapping[str, object] | None = None,
    tls: bool = False,
    sasl: bool = False,
) -> Any:
    """Start the load generator (see the head of its source); its output is piped."""
    environment = {**os.environ, **{key: str(value) for key, value in (settings or {}).items()}}
    return subprocess.Popen(
        [build("load", tls=tls, sasl=sasl), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run_load(
    *arguments: object,
    settings: Mapping[str, object] | None = None,
    tls: bool = False,
    sasl: bool = False,
) -> dict[str, Any]:
    """Run the load generator to its end and return what it printed; raises RuntimeError."""
    load = start_load(*arguments, settings=settings, tls=tls, sasl=sasl)
    output, _ = load.communicate(timeout=_MARGIN_S)
    if load.returncode:
        raise RuntimeError(f"the load generator failed: load {' '.join(map(str, arguments))}")
    printed: dict[str, Any] = json.loads(output) if output else {}
    return printed
