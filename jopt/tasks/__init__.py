"""The built-in tasks: real data and a Flax model each.

The data comes inside packages (`pip install 'jopt[tasks]'`), or with Python itself
(`text`); nothing is downloaded. Each task is a module of its own, so that it needs its
own package alone:

    from jopt.tasks.digits import digits

Sizes of the model are arguments (`digits(width=128)`), and equal calls give the same
object, so that a sweep over sizes groups the trials that share a program.
"""
