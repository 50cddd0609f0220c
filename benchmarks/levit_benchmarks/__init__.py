"""Measurements of any stage of the toolkit, and of its peers."""
