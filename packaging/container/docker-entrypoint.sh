#!/bin/sh
# Programs that extend the official image call this path. The work is done in
# src/zoolet/server/cli/container.py.
exec /opt/zoolet/bin/python -P -m zoolet.server.cli.container "$@"
