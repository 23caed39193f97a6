"""File formats, each spoken to in one module."""
