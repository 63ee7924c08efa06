"""Work that a page asks for and that outlives its request: on a queue, in a process of its own, or with a tick."""
