"""The faults that a test asks for, and the network in which they happen."""
