"""The parts that come with cellbench, found exactly as a third party's are."""
