"""What the CRDs demand, as pairs of an accepted and a refused change, and a client to ask a real API server."""
