"""Tests of jobs: what the admin starts, and how it is followed."""
