"""Facts: the PostgreSQL index of what is stored; the only room with SQL."""
