"""For tests of programs that use jobs: their tasks run in the test's own thread."""
