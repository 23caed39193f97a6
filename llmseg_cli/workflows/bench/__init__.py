"""`llmseg bench`: ways to do the same work, in turns on one machine."""
