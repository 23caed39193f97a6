"""`llmseg predict` and `explain`: what a run's networks say about images, and what it costs to ask."""
