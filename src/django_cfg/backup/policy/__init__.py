"""What may be decided without looking at the world: pure functions."""
