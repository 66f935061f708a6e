"""The same requests to Apache ZooKeeper and to zoolet, and a look at what differs.

``steps`` says what may be done and makes a sequence of it from a seed; ``replies`` reads what comes
back and takes out what may differ (times, session ids); ``play`` does a sequence on two fresh
servers, side by side, and shrinks one on which they differ to the shortest that still shows it.
"""
