"""Text encoders, the file of what they say of a text, and the controls of text."""
