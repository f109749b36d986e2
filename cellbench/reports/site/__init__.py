"""Static site of the results, made only from records; its pages open without a server."""
