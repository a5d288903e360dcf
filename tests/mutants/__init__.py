"""Planted defects: edits of the sources, each of which some test must notice (`run`)."""
