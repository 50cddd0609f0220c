"""Precisions other than float32: the network cast before it is traced, and its graph run where no engine here can."""
