"""Encryption, both ways, by the gpg program: what is written opens with plain ``gpg --decrypt``."""
