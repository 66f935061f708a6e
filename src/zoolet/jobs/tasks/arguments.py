"""Converts between the arguments of a function and the parameters of a job.

The parameters have the arguments by name. An argument with its default value is left out, so the
worker's code decides the value. This module imports `zoolet.jobs.errors` and `zoolet.jobs.records`.
"""

import inspect
import re
import string
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.json_values import plain_json


class Arguments:
    """The arguments that a function accepts.

    Args:
        function: the function.
        has_group: whether the first argument is the loaded group, which is not in the parameters.

    Raises:
        InvalidJobError: the function has no argument for the group.
    """

    def __init__(self, function: Callable[..., Any], *, has_group: bool) -> None:
        self.name = getattr(function, "__qualname__", repr(function))
        parameters = list(inspect.signature(function).parameters.values())
        if has_group:
            if not parameters or parameters[0].kind in {
                inspect.Parameter.KEYWORD_ONLY,
                inspect.Parameter.VAR_KEYWORD,
            }:
                raise InvalidJobError(
                    f"the task {self.name} gets a group, so its first argument must be the group"
                )
            if parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
                parameters = parameters[1:]
        self._signature = inspect.Signature(parameters)

    def check_template(self, option: str, text: object) -> None:
        """Check the names of arguments in the text of an option.

        Raises:
            InvalidJobError: the function has no argument of this name.
        """
        if callable(text):
            self._check_names(option, inspect.signature(text).parameters)
            return
        if not isinstance(text, str):
            return
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(text)]
        except ValueError as error:
            raise InvalidJobError(
                f"the option {option} of {self.name}: {text!r}: {error}"
            ) from None
        self._check_names(
            option, [re.split(r"[.\[]", field)[0] for field in fields if field is not None]
        )

    def _check_names(self, option: str, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._signature.parameters:
                raise InvalidJobError(
                    f"the option {option} of {self.name} names the argument {name!r}, which the"
                    " function does not have"
                )

    def text(self, text: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the text of an option for a call, with the arguments in place of their names."""
        if not callable(text) and not isinstance(text, str):
            return text
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if isinstance(text, str):
            return text.format_map(bound.arguments)
        return text(**{name: bound.arguments[name] for name in inspect.signature(text).parameters})

    def parameters(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of the job for a call.

        Raises:
            TypeError: the function cannot be called with these arguments.
            InvalidJobError: an argument is not JSON; the message names the argument.
        """
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None
        return {
            name: plain_json(f"the argument {name} of {self.name}", self._plain(name, value))
            for name, value in bound.arguments.items()
        }

    def _plain(self, name: str, value: Any) -> Any:
        kind = self._signature.parameters[name].kind
        return list(value) if kind is inspect.Parameter.VAR_POSITIONAL else value

    def of(self, parameters: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments in the parameters of a job, by position and by name.

        Raises:
            TypeError: the parameters are not those of the function.
        """
        known = self._signature.parameters
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise TypeError(f"the job has parameters that {self.name} does not have: {unknown}")
        arguments = {name: parameters[name] for name in known if name in parameters}
        bound = inspect.BoundArguments(self._signature, OrderedDict(arguments))
        return bound.args, bound.kwargs
