"""Powder beds: parts to batches to chambers, and where they lie in them."""
