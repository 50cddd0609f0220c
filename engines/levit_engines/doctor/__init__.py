"""What can run on this machine, what cannot and why: facts, probes in processes of their own, and verdicts on both."""
