"""Who may do what in PostgreSQL: one matrix, and what is derived from it."""
