"""The data types of ZooKeeper: paths, Stat, ACL, codes, requests, txns and replies.

This package contains the names and values that all other packages use, and the rules for such a
value alone (which paths are valid, which flags a create mode has). It imports nothing of zoolet.
"""
