"""Where windows and tiles lie (integers), and images in the world; no framework."""
