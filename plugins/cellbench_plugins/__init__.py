"""Parts shipped with cellbench, discovered in the same way as those of third parties."""
