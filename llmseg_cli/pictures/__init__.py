"""What people look at: images with labels, attention or masks drawn over them."""
