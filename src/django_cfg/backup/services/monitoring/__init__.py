"""Whether all is well, and who is notified when it is not."""
