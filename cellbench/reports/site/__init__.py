"""A static site of the results, made from records alone: pages that open from a folder."""
