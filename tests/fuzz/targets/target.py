"""What the fuzzer runs: a decoder, the errors that its documentation allows, and first inputs."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A decoder that anyone's bytes can reach.

    Attributes:
        run: decodes the bytes. It raises one of ``errors`` for invalid bytes. Every other
            exception is a defect, and so is a failed assertion about the decoded value.
        errors: the exceptions that the decoder's docstring names.
        seeds: valid inputs, from which the fuzzer begins.
    """

    run: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]

    def try_one(self, data: bytes) -> None:
        """Decode one input; raises only what is a defect."""
        with suppress(*self.errors):
            self.run(data)


_PIECE_BYTES = (1, 7, 64, 4096)


def text_in(data: bytes) -> str:
    """Return text for a decoder of text, whose caller has decoded the bytes."""
    return data.decode("utf-8", "replace")


def pieces_of(data: bytes) -> list[bytes]:
    """Return the bytes in pieces, as a socket delivers them; their size depends on the bytes."""
    size_bytes = _PIECE_BYTES[data[-1] % len(_PIECE_BYTES)] if data else 1
    return [data[at : at + size_bytes] for at in range(0, len(data), size_bytes)]
