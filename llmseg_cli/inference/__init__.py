"""From a trained network to label maps on an image's grid."""
