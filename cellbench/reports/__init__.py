"""Reports of comparisons: tables, figures and a static site; nothing here imports torch."""
