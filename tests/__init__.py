"""A package, so that processes which tests start find these files before a library's own folder of this name."""
