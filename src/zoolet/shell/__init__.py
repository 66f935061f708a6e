"""The shell: ``zkCli.sh``, against zoolet and any ZooKeeper.

Owns the commands, how they read what was typed and how they print what came. Everything goes
through kazoo and ``client``. Imports ``model`` and ``client``, never the server.
"""
