"""Moves a fleet of bindings to a new base against a real control plane, and measures what that costs."""
