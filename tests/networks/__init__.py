"""Random window classifiers: records (`specs`), their two forms, and what draws them."""
