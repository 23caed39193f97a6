"""`llmseg export`: a run as files that need no llmseg, for PyTorch, ONNX, and bundles of MONAI."""
