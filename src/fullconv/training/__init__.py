"""Training a classifier on a folder of crops, one that is exact when it is converted."""
