"""Faults of a case and of a cohort: pairing, geometry, label values."""
