"""Arithmetic on arrays that several layers need."""
