"""The rows of the tables, a file a family."""
