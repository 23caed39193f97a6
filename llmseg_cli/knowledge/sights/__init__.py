"""What is seen of one image: measured numbers as sentences, and models that look at pictures."""
