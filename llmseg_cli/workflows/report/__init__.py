"""`llmseg report`: what runs, scores, masks and scans say, on one page and as numbers."""
