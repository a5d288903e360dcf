"""From heatmaps to boxes: peaks, suppression, files, pictures, and their evaluation."""
