"""A set of one's own: a folder of pictures with annotations that people have, without Python."""
