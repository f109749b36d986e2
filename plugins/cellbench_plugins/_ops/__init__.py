"""Numerical routines shared by the parts."""
