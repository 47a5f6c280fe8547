"""Pictures: codecs, each in a caged child process, so that a hostile image costs one request (G32)."""
