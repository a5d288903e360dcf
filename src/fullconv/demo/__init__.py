"""The dress detector that the package carries: a drawn street, a classifier, and a picture."""
