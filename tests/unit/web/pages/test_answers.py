"""The status of each error: the nearest kind counts."""

import pytest

from zoolet import client, jobs
from zoolet.exports.lines import ExportError
from zoolet.web.jobs.scanning import PositionError
from zoolet.web.operations.operation import OperationError
from zoolet.web.operations.uploads import TooLargeError
from zoolet.web.pages.answers import EXPECTED, status_of
from zoolet.web.values.values import EditError

CASES = {
    ExportError: 400,
    EditError: 400,
    PositionError: 400,
    jobs.InvalidJobError: 400,
    client.NoAuthError: 403,
    jobs.AccessDeniedError: 403,
    jobs.UnknownDatasetError: 404,
    client.QuotaExceededError: 409,
    OperationError: 409,
    TooLargeError: 413,
    client.ThrottledError: 502,
    client.SessionExpiredError: 503,
    ConnectionResetError: 503,
    client.DeadlineError: 504,
    jobs.JobTimeoutError: 504,
}


@pytest.mark.parametrize(("kind", "status"), CASES.items(), ids=[kind.__name__ for kind in CASES])
def test_the_nearest_kind_of_an_error_decides(kind: type[Exception], status: int) -> None:
    assert issubclass(kind, EXPECTED)
    assert status_of(kind.__new__(kind)) == status


@pytest.mark.parametrize("kind", [client.ZooKeeperError, jobs.JobError])
def test_a_page_explains_all_errors_of_the_client_and_of_jobs(kind: type[Exception]) -> None:
    def below(found: type[Exception]) -> set[type[Exception]]:
        return {found}.union(*map(below, found.__subclasses__()))

    assert {status_of(each.__new__(each)) for each in below(kind)} <= {
        *(400, 403, 404, 409, 502, 503, 504)
    }


def test_an_unknown_error_is_not_explained() -> None:
    assert not issubclass(KeyError, EXPECTED)
    assert status_of(KeyError()) == 500
