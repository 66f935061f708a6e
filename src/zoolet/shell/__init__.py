"""The shell ``zkCli.sh``, for zoolet and any ZooKeeper server.

This package contains the commands, the parser of command lines and the output. It sends all
requests through ``client``. Imports ``model`` and ``client``, never the server.
"""
