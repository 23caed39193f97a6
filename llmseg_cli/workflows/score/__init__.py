"""`llmseg score`: predictions beside references, paired, measured, summed up and reported."""
