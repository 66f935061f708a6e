"""The parts of the benchmark of the web page, and the processes that they share."""
