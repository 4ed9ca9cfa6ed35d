"""Training a population: who goes on from whom, and with what."""
