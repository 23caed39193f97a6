"""A finished run as others open it: its networks, their pre-trained parts, what it learned."""
