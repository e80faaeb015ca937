"""The contract between operator, store and trainer: API models, Job requests and reports, digests, names."""
