"""PyTorch, through ``torch.export``."""
