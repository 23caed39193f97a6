"""The training loop and its parts: optimizer, averages, checkpoints, stopping."""
