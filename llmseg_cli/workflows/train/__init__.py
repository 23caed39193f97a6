"""`llmseg train-sup` and `train-semi`: from a request to a trained run folder."""
