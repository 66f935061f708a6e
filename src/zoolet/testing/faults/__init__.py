"""The faults that a test asks for, and the story of the past faults."""
