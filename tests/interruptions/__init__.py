"""Kills and failures of the trainer at every point of its work, and what the next attempt makes of them."""
