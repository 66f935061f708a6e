"""The web page on a server with running jobs: what ``make web`` does.

It starts the server, the workers and the queries of ``flights.py``, and ``zoolet web`` beside them.
A query starts every few seconds, so that the page shows something that changes. Everything that
this program starts ends with it; the data stay.
"""

import contextlib
import fcntl
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from flights import DATASET, LATE_MINUTES, MONTHS, Workers, running_server
from zoolet.jobs import Batch, Dispatcher, JobRequest

NAME = "editor"
PORT = 8090
COLUMNS = ("carrier", "origin", "dest", "hour")
FAILING_EVERY = 5
"""Each query of this number has one job that fails, so that the page has a failure to show."""

MOST_QUERIES = 200
"""The queries of one run, so that the data do not grow for ever."""

_BIN = Path(sys.executable).parent
_PAUSE_S = 15.0
_CHECK_S = 1.0
_START_S = 60.0
_STOP_S = 15.0


class Page:
    """The process of the page."""

    def __init__(self, hosts: str, users: Path, log: Path, port: int) -> None:
        """Start the page; return when it accepts connections."""
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [
                    *(_BIN / "zoolet", "web", "--server", f"local={hosts}", "--colour"),
                    *("local=green", "--users-file", users, "--allow-changes"),
                    *("--listen", f"127.0.0.1:{port}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        try:
            self.url = self._read_url()
        except BaseException:
            self.stop()
            raise

    def _read_url(self) -> str:
        """Return the URL, which is the last word of the first line that the process prints."""
        output = self._process.stdout
        if output is None or not select.select([output], [], [], _START_S)[0]:
            raise click.ClickException(f"the page does not start; its log says why: {self._log}")
        line = output.readline().decode()
        if not line:
            raise click.ClickException(f"the page has ended: {self._log.read_text().strip()}")
        return line.split()[-1]

    def check(self) -> None:
        """Fail if the page has ended."""
        if self._process.poll() is not None:
            raise click.ClickException(f"the page has ended; its log says why: {self._log}")

    def stop(self) -> None:
        """End the page."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def new_users_file(path: Path) -> str:
    """Write a file with one user, which only this user of the machine can read.

    Returns the password.
    """
    password = secrets.token_urlsafe(9)
    line = subprocess.run(
        [_BIN / "zoolet", "web-user", NAME, "--role", "editor"],
        input=f"{password}\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(line)
    return password


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[IO[str]]:
    """Lock a file for the time of the block; fails if another process has locked it."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            url = file.read() or "it starts"
            raise click.ClickException(f"make web is running in this directory: {url}") from None
        file.truncate(0)
        try:
            yield file
        finally:
            file.truncate(0)


def is_free(port: int) -> bool:
    """Return whether a program can listen on a port."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def submit(dispatcher: Dispatcher, number: int) -> Batch:
    """Submit a query, one job a month."""
    column = COLUMNS[number % len(COLUMNS)]
    fails = number % FAILING_EVERY == FAILING_EVERY - 1
    requests = [
        JobRequest(
            task="flights:delays",
            dataset=DATASET,
            groupid=month,
            parameters={
                "by": "no such column" if fails and month == MONTHS[0] else column,
                "late_minutes": LATE_MINUTES,
            },
            priority=100 + 10 * int(month),
        )
        for month in MONTHS
    ]
    return dispatcher.submit_batch(requests, reuse=False)


def keep_busy(dispatcher: Dispatcher, workers: Workers, page: Page) -> None:
    """Submit queries, one after the other, until Ctrl-C."""
    number, due_s = 0, time.monotonic()
    batch: Batch | None = None
    while True:
        if number < MOST_QUERIES and time.monotonic() >= due_s and not unfinished(batch):
            batch = submit(dispatcher, number)
            number, due_s = number + 1, time.monotonic() + _PAUSE_S
        if batch is not None and batch.outstanding:
            batch.next_result(timeout_s=_CHECK_S)
        else:
            time.sleep(_CHECK_S)
        workers.check()
        page.check()


def unfinished(batch: Batch | None) -> bool:
    """Return whether a batch has jobs that were not returned yet."""
    return batch is not None and batch.outstanding > 0


def print_start(page: Page, password: str, queue: str, logs: list[Path]) -> None:
    """Print where the page is, and how to log in."""
    click.echo(f"\nThe page:  {page.url}")
    click.echo(f"Log in:    name {NAME}, password {password}")
    click.echo(f"The queue: {page.url}c/local/jobs/{Path(queue).name}")
    click.echo(f"The logs:  {' '.join(map(str, logs))}\n")
    click.echo(
        f"A query of {len(MONTHS)} jobs starts every {_PAUSE_S:.0f} s,"
        f" {MOST_QUERIES} queries in all. A job of every {FAILING_EVERY}th query fails, so that the"
        " page has a failure to show.\nCtrl-C ends everything that was started here. The data stay."
    )


def ignore_signals() -> None:
    """Let no second Ctrl-C interrupt the end; each step of it has a time limit."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@click.command()
@click.option("--conf", default="conf/zoo.cfg", show_default=True, type=click.Path(path_type=Path))
@click.option("--queue", default="/jobs/flights", show_default=True, metavar="PATH")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--logs", default="var", show_default=True, type=click.Path(path_type=Path, file_okay=False)
)
def main(conf: Path, queue: str, port: int, logs: Path) -> None:
    """Serve, run queries over a year of flights as jobs, and show both on a web page."""
    logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as started:
        try:
            run(started, conf, queue, port, logs)
        except KeyboardInterrupt:
            click.echo("\nStopping ...")
        finally:
            ignore_signals()


def run(started: contextlib.ExitStack, conf: Path, queue: str, port: int, logs: Path) -> None:
    """Start everything, each with its end, and keep the workers busy until Ctrl-C."""
    lock = started.enter_context(only_one(logs / "web.lock"))
    started.callback(click.echo, "Everything that was started here is stopped.")
    users, log = logs / "web-users", logs / "web.log"
    started.callback(users.unlink, missing_ok=True)
    password = new_users_file(users)
    hosts, _ = started.enter_context(running_server(conf))
    dispatcher = started.enter_context(Dispatcher(hosts, queue, create=True))
    workers = Workers(2, hosts, queue, logs)
    started.callback(workers.stop)
    if port and not is_free(port):
        click.echo(f"Another program uses the port {port}, so the page gets a free one.")
        port = 0
    page = Page(hosts, users, log, port)
    started.callback(page.stop)
    lock.write(page.url)
    lock.flush()
    print_start(page, password, queue, [log, *workers.log_paths])
    keep_busy(dispatcher, workers, page)


def raise_interrupt(_number: int, _frame: object) -> None:
    """End the program at SIGTERM as at Ctrl-C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, raise_interrupt)
    main()
