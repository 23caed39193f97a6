"""From a network's probabilities to prompts, and from SAM's answers to pseudo-labels."""
