"""The archiver: follows the files of a server, and writes them into an archive."""
