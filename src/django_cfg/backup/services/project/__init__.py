"""What a service works with: the project's settings, its clock, its connections, its secrets."""
