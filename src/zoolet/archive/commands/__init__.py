"""The commands for archives and mirrors, and those of ``zoolet data`` that also read archives."""
