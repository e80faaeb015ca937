"""How GitOps tools read what the operator writes."""
