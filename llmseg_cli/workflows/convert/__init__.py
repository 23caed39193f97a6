"""`llmseg convert`: a data set as another program, or another task, needs it."""
