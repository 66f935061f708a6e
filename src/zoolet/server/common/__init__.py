"""What the parts of a server run on: the scheduler, threads for the disk, logs, counts."""
