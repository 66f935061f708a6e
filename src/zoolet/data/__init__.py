"""This package contains the tools for data directories and their files (``commands``).

The tools read files with the code of the server. Only ``purge`` changes an existing data directory.
The other tools write their output to new files and directories.
"""
