"""The errors of archives and mirrors."""


class ArchiveError(Exception):
    """A command cannot continue; the message has the reason and what the user can do."""


class DamagedObjectError(ArchiveError):
    """An object of an archive has other content than the archiver wrote, or is missing.

    Attributes:
        name: the name of the object.
        reason: a description of the damage.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the object {name} of the archive is damaged: {reason}.")
        self.name = name
        self.reason = reason


class AbsentObjectError(DamagedObjectError):
    """An object of an archive does not exist."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "it does not exist")
