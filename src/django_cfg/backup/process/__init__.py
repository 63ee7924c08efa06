"""Child processes, and what they need of this one: pipes, signals, private folders, secrets kept out of messages."""
