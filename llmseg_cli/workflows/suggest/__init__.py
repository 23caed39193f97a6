"""What `llmseg suggest` does: which unlabeled cases to label next, and a sheet of pictures."""
