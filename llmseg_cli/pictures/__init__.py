"""What people look at: images with masks or attention drawn over them, and plots of numbers."""
