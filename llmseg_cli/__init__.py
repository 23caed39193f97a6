"""Segment medical scans with few labels."""
