"""A finished run as others open it: its networks, what they were made of, what they learned from."""
