"""What files of pseudo-labels hold besides classes."""

UNKNOWN = 255  # a pixel of which nothing is known; it teaches nothing
