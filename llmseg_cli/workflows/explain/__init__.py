"""`llmseg explain`: what in an image a network goes by, as maps on the image and pictures."""
