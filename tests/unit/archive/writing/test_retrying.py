"""Requests are repeated while there is hope; an archiver that stops ends in time."""

import errno
import threading
from collections.abc import Callable

import pytest

from tests.support.waiting import WAIT_S
from zoolet.archive.errors import ArchiveError
from zoolet.archive.writing.retrying import Retrier, StoppedError, Stopping
from zoolet.archive.writing.status import Status


def failing(*errors: OSError) -> Callable[[], str]:
    """Return a request that raises the errors, one after the other, and then succeeds."""
    left = list(errors)

    def request() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return request


def retrier(stopping: Stopping | None = None, limit_s: float | None = None) -> Retrier:
    return Retrier(stopping or Stopping(60), Status(), lambda _delay_s: None, limit_s)


TEMPORARY = OSError(errno.EIO, "the store fails")
PERMANENT = [
    PermissionError("Access Denied"),
    FileNotFoundError("The specified bucket does not exist"),
    OSError(errno.EROFS, "Read-only file system"),
    OSError(errno.EINVAL, "The specified bucket is not valid."),
]


def test_a_request_is_repeated() -> None:
    assert retrier().call("x", failing(TEMPORARY, TEMPORARY), at_start=True) == "done"


@pytest.mark.parametrize("error", PERMANENT, ids=str)
def test_at_the_start_an_error_that_needs_a_user_ends_the_command(error: OSError) -> None:
    with pytest.raises(ArchiveError, match="permission") as raised:
        retrier().call("opening s3://x", failing(TEMPORARY, error), at_start=True)
    assert str(raised.value).startswith(f"opening s3://x failed: {error}")
    assert retrier().call("x", failing(error)) == "done"


def test_missing_credentials_end_the_command() -> None:
    class NoCredentialsError(Exception):
        """As in botocore."""

    error = OSError("NoCredentialsError: Unable to locate credentials")
    error.__cause__ = NoCredentialsError()
    with pytest.raises(ArchiveError, match="credentials"):
        retrier().call("x", failing(error), at_start=True)


def test_a_limit_ends_the_repetition() -> None:
    with pytest.raises(ArchiveError, match="Run the command again"):
        retrier(limit_s=0.0).call("x", failing(TEMPORARY))


def test_a_pause_ends_when_the_time_for_uploads_is_over() -> None:
    stopping = Stopping(0.0)
    stopping.pause(0.0)
    paused = threading.Event()

    def stop() -> None:
        paused.wait(WAIT_S)
        stopping.ask()

    asking = threading.Thread(target=stop)
    asking.start()
    paused.set()
    with pytest.raises(StoppedError):
        stopping.pause(1e6)
    asking.join()


def test_the_process_ends_if_a_request_hangs() -> None:
    stopping, ended = Stopping(0.0), threading.Event()
    with stopping.enforced(0.0, ended.set):
        stopping.ask()
        assert ended.wait(WAIT_S)


def test_the_process_is_not_ended_if_everything_is_done() -> None:
    stopping, ended = Stopping(0.0), threading.Event()
    with stopping.enforced(60.0, ended.set):
        pass
    stopping.ask()
    for thread in threading.enumerate():
        if thread.name == "zoolet-stop":
            thread.join(WAIT_S)
    assert not ended.is_set()
