"""Convolutions with one signature, for the live path of any decoder."""
