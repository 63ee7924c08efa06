"""Where bytes flow: dump -> compress -> store in one pass and bounded memory, and the way back."""
