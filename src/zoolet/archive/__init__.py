"""The archive of a server or an ensemble, restores from it, and the mirror."""
