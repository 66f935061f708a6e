"""The rules of an observer: what it does with each packet of its leader, and what it waits for.

The package has no I/O, no clock, no asyncio and no random numbers: packets and times are arguments,
and the results say what the server must do.
"""
