"""The nouns of ZooKeeper: paths, Stat, ACL, codes, requests, txns and replies.

Owns the names and the values that every other package speaks of, and the rules that hold for such
a value alone (what a valid path is, which flags a create mode has). Imports nothing of zoolet.
"""
