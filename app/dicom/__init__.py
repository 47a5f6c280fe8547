"""Knowledge: the standard as pure functions and tables; no I/O, no other room."""
