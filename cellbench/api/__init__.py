"""Public functions of `import cellbench` and of the commands with the same names.

Heavy imports are inside the functions. The help of a command and of its options is the docstring of
its function, see `cellbench.cli.docs`.
"""
