"""Accuracy on labelled images: top-1 and top-5 with exact intervals, and whether another bundle loses any of it."""
