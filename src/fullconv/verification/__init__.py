"""Proof that a converted network's scores are those of crops, and a benchmark against them."""
