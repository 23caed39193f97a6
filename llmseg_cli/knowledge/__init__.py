"""What large models know: as texts, vectors, masks and weights."""
