"""The graph forms: the same fused network as each target runs it fastest."""
