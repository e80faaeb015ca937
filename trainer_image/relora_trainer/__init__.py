"""The re-adaptation of LoRA adapters to a new base (arXiv 2606.02606)."""
