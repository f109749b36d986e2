"""The functions behind `import cellbench` and behind the commands of the same names.

Nothing heavy is imported before a function is called. The help of a command and of its options is
the docstring of its function, see `cellbench.cli.docs`.
"""
