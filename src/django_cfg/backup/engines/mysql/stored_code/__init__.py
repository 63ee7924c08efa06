"""Views, triggers, routines and events: read, created again in another schema, kept for the switch."""
