"""Learners that are combined, one kind a file."""
