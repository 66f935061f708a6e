"""``zoolet mirror``: a subtree of one ensemble is copied continuously to another one."""
