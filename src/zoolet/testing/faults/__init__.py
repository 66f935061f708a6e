"""What can go wrong with an embedded server: its clock, its disk, its network."""
