"""The data types of ZooKeeper: paths, Stat, ACL, codes, requests, txns and replies.

This package contains the names and values that all other packages use, and the rules about a single
value (which paths are valid, which flags a create mode has). It imports no other package of zoolet.
"""
