"""`AsyncDispatcher` and `AsyncBatch` have the methods of `Dispatcher` and `Batch`."""

import inspect
from typing import Any

import pytest

from zoolet.jobs import AsyncBatch, AsyncDispatcher, Batch, Dispatcher

PAIRS = [(Dispatcher, AsyncDispatcher), (Batch, AsyncBatch)]
NOT_METHODS = {"follow"}
"""Dispatcher.batch calls it; programs do not."""


def public(kind: type[Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("_") and name not in NOT_METHODS
    }


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(("kind", "asynchronous"), PAIRS)
def test_the_methods_are_the_same(kind: type[Any], asynchronous: type[Any]) -> None:
    ours = public(asynchronous)
    for name, method in public(kind).items():
        assert name in ours, f"add the method {name} to {asynchronous.__name__}"
        if callable(method):
            assert parameters(ours[name]) == parameters(method), name
        else:
            assert isinstance(ours[name], property), name


def test_the_arguments_of_the_dispatchers_are_the_same() -> None:
    assert parameters(AsyncDispatcher.__init__) == parameters(Dispatcher.__init__)


def test_methods_that_ask_the_server_are_coroutines_or_iterators() -> None:
    for kind, asynchronous in PAIRS:
        for name, method in public(kind).items():
            if callable(method) and "timeout_s" in inspect.signature(method).parameters:
                found = getattr(asynchronous, name)
                is_async = inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found)
                assert is_async, name


def test_a_dispatcher_that_is_not_open_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="async with AsyncDispatcher"):
        _ = AsyncDispatcher("127.0.0.1:1").queue
