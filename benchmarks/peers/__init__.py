"""One file for each library that is measured; each runs in a process and an environment of its own.

Nothing here may need more than that one library, psycopg, and Python's own: the environments have nothing else.
"""
