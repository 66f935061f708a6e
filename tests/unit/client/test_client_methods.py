"""The methods of both clients come from one source."""

import inspect
from pathlib import Path

import pytest

from release.client_methods import MADE, made_text
from zoolet.client.asyncio_client.methods import AsyncRequests
from zoolet.client.thread_client.future_methods import FutureRequests
from zoolet.client.thread_client.methods import Requests


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.stem)
def test_the_made_modules_are_those_of_the_sources(path: Path) -> None:
    assert path.read_text() == made_text(path), "run: .venv/bin/python -m release.client_methods"


def results_of(kind: type) -> dict[str, tuple[list[str], str]]:
    """Return the parameters of each method of a class, and the type of its result."""
    found = {}
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            signature = inspect.signature(method)
            result = str(signature.return_annotation)
            found[name] = ([str(one) for one in signature.parameters.values()], result)
    return found


def test_the_signatures_differ_only_in_the_kind_of_result() -> None:
    methods = results_of(AsyncRequests)
    assert set(results_of(Requests)) == set(results_of(FutureRequests)) == set(methods)
    assert len(methods) > 15
    for name, (parameters, result) in methods.items():
        assert results_of(Requests)[name][0] == parameters
        assert results_of(FutureRequests)[name][0] == parameters
        assert "Future[" in result
        assert "CallFuture[" in results_of(FutureRequests)[name][1]
