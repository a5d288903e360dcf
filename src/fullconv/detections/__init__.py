"""From heatmaps to boxes: peaks, suppression, files, pictures, and how good they are."""
