"""What label maps hold besides classes, once they are read."""

UNKNOWN = 255  # a voxel of which nothing is known; it teaches nothing and is not scored
