"""What workers of Ray cost and gain on one machine, beside the same sweep in one process."""
