"""The demonstration: one release, from `kubectl apply` to a served adapter, on one machine."""
