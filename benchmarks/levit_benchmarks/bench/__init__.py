"""levit-bench: latency, throughput, cold start and end-to-end time of engines and their peers, side by side."""
