"""Speed as ratios: ours beside the straightforward way, in one run, on the same clips."""
