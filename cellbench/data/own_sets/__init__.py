"""Import of a user's own folder of images and annotations as a data set, without Python code."""
