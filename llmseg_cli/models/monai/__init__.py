"""MONAI's segmentation networks by name: their options, the patches that they take, the adapter."""
