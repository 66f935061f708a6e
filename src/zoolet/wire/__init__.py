"""ZooKeeper's serialization: conversion of bytes to the values of ``zoolet.model`` and back.

This package contains jute (ZooKeeper's record format), the frames on a connection and the txns in a
log record. It has no state and does no I/O. For any input bytes, the only error that it raises is
MalformedError. Of zoolet, it imports only ``model``.
"""
