"""What is asked of PostgreSQL: pure builders of Core statements, one verb a file.

No statement here takes a parameter for a state: partial indexes serve only where the planner sees the literal. Every
comparison of times uses the clock of the database.
"""
