"""What users of other libraries do today, one small script each, to measure ours against."""
