"""What `minicnn bench` runs: timings, in live processes that take turns, and what follows from them.

Nothing is imported here: the rival's process enters this package without paying for the library.
"""
