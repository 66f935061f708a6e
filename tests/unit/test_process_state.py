"""A test that runs a command in this process changes nothing for the tests after it."""

import gc
import logging
import signal
from pathlib import Path

from click.testing import CliRunner

from tests.support.process_state import restoring_process
from zoolet.archive.commands.archive import archive


def process_state() -> tuple[object, ...]:
    root = logging.getLogger()
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    is_logged = logging.getLogger("of.another.test").isEnabledFor(logging.INFO)
    return root.level, root.handlers[:], is_logged, signals


def test_the_log_and_the_signals_are_restored(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "version-2").mkdir(parents=True)
    (data / "version-2" / "snapshot.0").touch()
    options = ["--from-dir", str(data), "--to", str(tmp_path / "archive"), "--once"]
    before = process_state()
    with restoring_process():
        CliRunner().invoke(archive, options)
        changed = process_state()
    assert all(one != other for one, other in zip(before, changed, strict=True))
    assert process_state() == before


def test_the_tests_themselves_are_excluded_from_garbage_collection() -> None:
    assert gc.get_freeze_count() > 0
