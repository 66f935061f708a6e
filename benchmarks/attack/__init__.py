"""Attacks on a zoolet server, and what they do to a client that attacks nobody.

Each attack runs against a new server process on 127.0.0.1. A *bystander*, a process with a session
of 6 s, sends one getData every 50 ms meanwhile. An attack fails if the bystander's session ends, if
the p99 of its latencies is 250 ms or more, or if the server keeps more than 20 MB after the attack.
"""
