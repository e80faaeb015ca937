"""Pictures of `kubectl relora` for the documentation, from a real operator on a real API server."""
