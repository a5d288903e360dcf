"""Scores for every window of images of any size, in bounded memory, resumable."""
