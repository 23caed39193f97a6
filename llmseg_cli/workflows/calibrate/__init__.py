"""`llmseg calibrate`: how sure the networks of a run should be, by its validation cases."""
