"""What the records of the protocol have in common.

A record is made for every request, so it has to be cheap: a class of its own with slots, which
mypyc makes a plain struct of. A NamedTuple takes seven times as long to make.
"""

from typing import ClassVar

from mypy_extensions import mypyc_attr


@mypyc_attr(acyclic=True)
class Record:
    """A value: equal to another of its type with the same fields. Its slots are its fields."""

    __slots__: ClassVar[tuple[str, ...]] = ()
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def fields(self) -> dict[str, object]:
        """Return the fields by name, in the protocol's order."""
        return {name: getattr(self, name) for name in type(self).__slots__}

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and isinstance(other, Record)
            and self.fields() == other.fields()
        )

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={value!r}" for name, value in self.fields().items()])
        return f"{type(self).__name__}({shown})"
