"""The built-in tasks: real data and a Flax model each.

The data comes inside packages (`pip install 'jopt[tasks]'`); nothing is downloaded.
Each task is a module of its own, so that it needs its own package alone:

    from jopt.tasks.digits import digits
"""
