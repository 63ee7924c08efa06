"""Finding the slots that are due, claiming them, running them here or on a queue."""
