"""Where windows, tiles and images lie: pure integers, no framework."""
