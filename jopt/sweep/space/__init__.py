"""What settings are drawn from, and how."""
