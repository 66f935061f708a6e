"""A replacement for the test harness of kazoo."""
