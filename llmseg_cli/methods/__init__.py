"""Ways of learning, one a file."""
