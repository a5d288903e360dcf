"""From a window classifier to the network over all windows, and what is said of it."""
