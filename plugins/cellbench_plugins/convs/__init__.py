"""Convolutions with a common signature, for use in any decoder."""
