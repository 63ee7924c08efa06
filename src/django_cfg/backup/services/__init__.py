"""What the package does, one story a file. Services raise; only the faces above print."""
