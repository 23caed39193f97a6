"""What `llmseg describe` does: texts of a target, or of each image, and who wrote them."""
