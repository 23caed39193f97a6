"""Weights on disk: the embedded models, downloads, the hub, and files of other formats."""
