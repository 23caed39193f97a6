"""What `llmseg auto` does: the ordinary commands in order, each recorded, within a budget."""
