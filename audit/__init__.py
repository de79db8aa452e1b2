"""Who did what: principals, separation of duties, the append-only log and its exports."""
