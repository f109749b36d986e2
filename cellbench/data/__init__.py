"""Reading, storing, splitting and loading of annotated images."""
