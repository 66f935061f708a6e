"""What a task and the program around it know of each other: the current job and dispatcher."""
