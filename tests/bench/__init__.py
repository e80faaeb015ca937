"""Benches: each measures the rows of one table, says which reached their target, and keeps them as JSON."""
