"""What the shell was told on its command line and by its environment, read once."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_DEFAULT_TIMEOUT_MS = 30_000
_HISTORY_NAME = ".zoolet_history"

_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
"""The characters that look like the "-" of an option."""

FLAGS = frozenset({"-h", "--help", "-r", "-waitforconnection", "--read-only", "--no-pager"})
"""The options that take no value."""

_SINGLE_DASH = frozenset({"-server", "-timeout", "-r", "-waitforconnection", "-h"})


@dataclass(frozen=True, slots=True)
class Settings:
    """How a shell works.

    Attributes:
        hosts: the servers, and behind a slash the znode that is taken as the root.
        timeout_ms: the session timeout that is asked for, and how long a server is waited for.
        takes_read_only_server: whether a server that is cut off from its ensemble will do (-r).
        refuses_changes: whether commands that change anything are refused (--read-only).
        is_json: whether answers are printed as JSON, a value a line.
        has_pager: whether a terminal gets long answers page by page.
        history_path: where the lines that a person typed are kept.
        editor: the command line that ``edit`` starts.
        tls_ca: the certificates that servers' are checked with, over TLS; None: in the open.
        tls_cert: the shell's own certificate, None: it shows none.
        tls_key: its private key; None: it stands with the certificate.
        command: the words of the one command to run; none: lines are read.
    """

    hosts: str
    timeout_ms: int
    takes_read_only_server: bool
    refuses_changes: bool
    is_json: bool
    has_pager: bool
    history_path: Path
    editor: str
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    command: tuple[str, ...]

    @property
    def timeout_s(self) -> float:
        """timeout_ms in seconds, as kazoo takes it."""
        return self.timeout_ms / 1000


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return what the command line asks for; ends the program where it is written wrong."""
    parser = _parser()
    found = parser.parse_args(_with_ascii_dashes(argv))
    if found.timeout <= 0:
        parser.error(f"-timeout {found.timeout}: a timeout is at least 1 ms")
    if found.tls_ca is None and (found.tls_cert or found.tls_key):
        parser.error("--tls-cert and --tls-key need --tls-ca, without which nothing is encrypted")
    if found.tls_cert is None and found.tls_key:
        parser.error("--tls-key needs --tls-cert")
    home = Path(environment.get("HOME", "."))
    return Settings(
        hosts=found.server,
        timeout_ms=found.timeout,
        takes_read_only_server=found.r,
        refuses_changes=found.read_only,
        is_json=found.output == "json",
        has_pager=not found.no_pager,
        history_path=found.history or home / _HISTORY_NAME,
        editor=environment.get("VISUAL") or environment.get("EDITOR") or "vi",
        tls_ca=found.tls_ca,
        tls_cert=found.tls_cert,
        tls_key=found.tls_key,
        command=tuple(found.command),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkCli.sh",
        description="Work on a ZooKeeper server. Without a command, lines are read from the"
        " terminal or from standard input; the command help lists the commands.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-server",
        "--server",
        default="127.0.0.1:2181",
        metavar="HOST:PORT[,HOST:PORT...][/PATH]",
        help="the server, or the members of an ensemble, and the znode to take as the root"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "-timeout",
        "--timeout",
        type=int,
        default=_DEFAULT_TIMEOUT_MS,
        metavar="MS",
        help="the session timeout, and how long to wait for a server (default: %(default)s)",
    )
    parser.add_argument(
        "-r", action="store_true", help="take a server that only reads, where there is no other"
    )
    parser.add_argument(
        "-waitforconnection",
        action="store_true",
        help="taken for the original's sake: a connection is always waited for",
    )
    parser.add_argument(
        "--read-only", action="store_true", help="refuse the commands that change anything"
    )
    parser.add_argument(
        "--output",
        choices=("text", "json"),
        default="text",
        help="how answers are printed; json: a value a line (default: %(default)s)",
    )
    parser.add_argument(
        "--no-pager", action="store_true", help="print long answers to a terminal without a stop"
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help=f"where typed lines are kept (default: ~/{_HISTORY_NAME})",
    )
    for option, what in (
        ("--tls-ca", "speak TLS with servers whose certificate one of this file signs (PEM)"),
        ("--tls-cert", "show them this certificate (PEM)"),
        ("--tls-key", "its private key (default: it is in the certificate's file)"),
    ):
        parser.add_argument(option, type=_file, metavar="FILE", help=what)
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="a command of the shell and its arguments"
    )
    return parser


def _with_ascii_dashes(argv: Sequence[str]) -> list[str]:
    """Return the arguments with the dashes of options as "-".

    Web pages and word processors show "-server" with an en dash, and "--server" with an em dash or
    an en dash. The command and its arguments stay as they are.
    """
    words = list(argv)
    position = 0
    while position < len(words) and words[position].startswith(tuple(_DASHES)):
        name, equals, value = words[position].partition("=")
        plain = name.lstrip(_DASHES)
        if not name.isascii() and plain:
            name = f"-{plain}" if f"-{plain}" in _SINGLE_DASH else f"--{plain}"
            words[position] = f"{name}{equals}{value}"
        position += 1 if equals or name in FLAGS else 2
    return words


def _file(written: str) -> Path:
    """Return the path of a file that can be read."""
    path = Path(written)
    try:
        path.open("rb").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{written} cannot be read: {error.strerror}") from error
    return path
