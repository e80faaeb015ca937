"""Runs the operator against a real API server, with a kubelet that only pretends."""
