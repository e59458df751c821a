"""Drawn images as a set beside the real ones: distance, coverage, copies."""
