"""The error of the commands on ensembles."""


class EnsembleError(Exception):
    """A command cannot do its work; the message has the reason and what the user can do."""
