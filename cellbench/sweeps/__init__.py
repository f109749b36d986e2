"""Many runs, each in a process of its own; nothing here imports torch or the engine."""
