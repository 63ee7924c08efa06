"""Views, triggers, routines and events: read from a dump, created again, listed, and exported before the switch."""
