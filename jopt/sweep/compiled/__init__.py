"""What is compiled of a sweep, and the devices and the memory that it runs in."""
