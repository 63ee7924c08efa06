"""What the commands print: tables and sentences for people."""
