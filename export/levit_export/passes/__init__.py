"""Passes on the traced graph: one pass, one file."""
