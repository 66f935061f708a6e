"""What zoo.cfg says, as one frozen value."""
