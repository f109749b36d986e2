"""The contract of a counting method and the skeletons that share it."""
