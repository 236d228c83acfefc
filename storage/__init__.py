"""PostgreSQL: the schema, its migrations, and plain SQL in functions by area. Knows nothing of HTTP."""
