"""Arguments of a call become parameters of a job, and the same arguments again."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.tasks.arguments import Arguments


def plain(a: int, b: int = 2) -> tuple[Any, ...]:
    return a, b


def mixed(a: int, /, b: int, *rest: int, c: int = 3, **others: int) -> tuple[Any, ...]:
    return a, b, rest, c, others


def grouped(group: Any, a: int) -> tuple[Any, ...]:
    return group, a


values = st.none() | st.integers() | st.text() | st.lists(st.integers(), max_size=2)


@given(
    st.lists(values, min_size=2, max_size=5),
    st.dictionaries(st.sampled_from(["c", "d", "e"]), values),
)
def test_the_arguments_of_a_call_come_back(args: list[Any], kwargs: dict[str, Any]) -> None:
    arguments = Arguments(mixed, has_group=False)
    found, named = arguments.of(arguments.parameters(tuple(args), kwargs))
    assert mixed(*found, **named) == mixed(*args, **kwargs)


def test_parameters_have_the_arguments_by_name_and_no_defaults() -> None:
    arguments = Arguments(plain, has_group=False)
    assert arguments.parameters((1,), {}) == {"a": 1}
    assert arguments.parameters((), {"b": 3, "a": 1}) == {"a": 1, "b": 3}
    assert arguments.of({"a": 1}) == ((1,), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "complaint"),
    [
        ((), {}, r"plain\(\): missing a required argument: 'a'"),
        ((1, 2, 3), {}, r"plain\(\): too many positional arguments"),
        ((1,), {"x": 1}, r"plain\(\): got an unexpected keyword argument 'x'"),
    ],
)
def test_a_wrong_call_is_refused_at_once(
    args: tuple[int, ...], kwargs: dict[str, int], complaint: str
) -> None:
    with pytest.raises(TypeError, match=complaint):
        Arguments(plain, has_group=False).parameters(args, kwargs)


def test_an_argument_that_is_not_json_is_named() -> None:
    with pytest.raises(InvalidJobError, match=r"the argument b of plain\['x'\]\[0\] is of type"):
        Arguments(plain, has_group=False).parameters((1, {"x": [object()]}), {})


def test_parameters_of_another_function_are_refused() -> None:
    with pytest.raises(TypeError, match=r"parameters that plain does not have: \['c'\]"):
        Arguments(plain, has_group=False).of({"a": 1, "c": 2})
    args, kwargs = Arguments(plain, has_group=False).of({})
    with pytest.raises(TypeError, match="missing 1 required"):
        plain(*args, **kwargs)


def test_the_group_is_not_in_the_parameters() -> None:
    assert Arguments(grouped, has_group=True).parameters((5,), {}) == {"a": 5}


def no_arguments() -> None: ...
def only_named(*, a: int) -> int:
    return a


@pytest.mark.parametrize("function", [no_arguments, only_named])
def test_a_function_without_an_argument_for_the_group_is_refused(
    function: Callable[..., Any],
) -> None:
    with pytest.raises(InvalidJobError, match="its first argument must be the group"):
        Arguments(function, has_group=True)


def test_an_option_may_have_arguments_in_braces() -> None:
    arguments = Arguments(plain, has_group=False)
    assert arguments.text("{a}-{b}", (1,), {}) == "1-2"
    assert arguments.text(lambda b: -b, (1,), {}) == -2
    assert arguments.text("{{a}}", (1,), {}) == "{a}"
    with pytest.raises(InvalidJobError, match="names the argument 'c'"):
        arguments.check_template("groupid", "{c}")
    with pytest.raises(InvalidJobError, match="groupid of plain"):
        arguments.check_template("groupid", "{a")
    with pytest.raises(InvalidJobError, match="names the argument 'c'"):
        arguments.check_template("groupid", lambda c: f"{c}")
