"""Prepared cases and the patches of a batch: preprocessing, its cache, sampling, augmentation."""
