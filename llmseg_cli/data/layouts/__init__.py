"""Ways in which people arrange images and label maps on disk, one a file."""
