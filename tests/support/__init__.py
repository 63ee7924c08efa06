"""What the tests need and what is no test: each file is named after what it gives."""
