"""Language models, text encoders and the weights they need."""
