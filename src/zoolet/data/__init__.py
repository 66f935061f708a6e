"""Tools on data directories and their files, on the code that the server itself reads them with.

Owns what can be asked of files (``commands``) and how it is answered. Nothing here changes a data
directory: what is made, is made in a new one.
"""
