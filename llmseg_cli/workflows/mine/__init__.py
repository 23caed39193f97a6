"""`llmseg mine-sam`: pseudo-labels case by case, and the folder that holds them."""
