"""The decorator `zoolet.jobs.task`, and the functions that it makes."""
