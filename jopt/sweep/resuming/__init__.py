"""What is kept of a sweep while it trains, so that it can go on after a crash."""
