"""Decisions: pure functions from a snapshot of the cluster to a plan. No clock, no I/O."""
