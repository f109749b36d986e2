"""Numerical kernels that several families share."""
