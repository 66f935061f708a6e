"""The encoded names of a long list of children, in pieces that survive changes of the list."""

from typing import Final, final

NAMES_PER_PIECE: Final = 512
"""The number of entries of a list whose names are in one piece. They are encoded at once."""

_MOST_CHANGED: Final = 1000
"""After more deletions, all pieces are encoded again: each of them has probably changed."""


@final
class NamePieces:
    """The pieces of one directory.

    Piece ``n`` has the names of the entries from ``n * NAMES_PER_PIECE``, up to the entries of the
    next piece, without deleted children. It is not known which piece has a child's name, and
    a search takes long. So after a deletion, the next reader uses each piece again if no changed
    path is among its entries.

    A reader may keep all three attributes and go on to use them, whatever changes later.

    Attributes:
        valid: the first pieces, which contain all changes. This list only grows; after a change, a
            new list replaces it. New children come behind the last piece.
        earlier: the pieces before the last changes. A piece that is not in ``valid`` yet is still
            right if none of its entries is in ``changed``.
        changed: the paths that were deleted, or took their old place again, since ``earlier``. This
            set may grow while a reader has it, and then the reader encodes more pieces again.
    """

    __slots__ = ("changed", "earlier", "valid")

    def __init__(self) -> None:
        self.valid: list[bytes] = []
        self.earlier: list[bytes] = []
        self.changed: set[str] = set()

    def change(self, path: str) -> bool:
        """Note that a child was deleted or took its old place; return whether pieces are left."""
        valid = self.valid
        if len(valid) >= len(self.earlier):
            self.earlier = valid
            self.changed = set()
        elif valid:
            self.earlier = valid + self.earlier[len(valid) :]
        # Also if it is empty: a reader that has it may still add its own pieces.
        self.valid = []
        self.changed.add(path)
        return len(self.changed) <= _MOST_CHANGED
