"""levit-verify's library: the ladder of a bundle, measured again from its files or from the weights."""
