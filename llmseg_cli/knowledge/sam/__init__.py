"""Segment Anything, in its several forms, behind one interface."""
