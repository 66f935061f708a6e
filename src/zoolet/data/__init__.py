"""This package contains the tools for data directories and their files (``commands``).

The tools read files with the code of the server. Except for ``purge``, they never change a data
directory; their output goes to new files and directories.
"""
