"""The base class of the protocol's records.

A record is created for every request, so this must be fast. Each kind of record is a class
with slots, which mypyc compiles to a plain struct. Creating a NamedTuple takes seven times as long.
"""

from typing import ClassVar

from mypy_extensions import mypyc_attr


@mypyc_attr(acyclic=True)
class Record:
    """A value that equals any value of its type with the same fields. The fields are its slots."""

    __slots__: ClassVar[tuple[str, ...]] = ()
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def fields(self) -> dict[str, object]:
        """Return the fields by name, in the order of the protocol."""
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
