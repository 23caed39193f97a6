"""`llmseg predict`: what a run says about images, and what it costs to ask."""
