"""Reading backups, restoring them into a staging database, keeping the proof."""
