"""What connects a sweep to its neighbours, a file each."""
