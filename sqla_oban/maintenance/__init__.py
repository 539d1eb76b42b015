"""Upkeep that one node does for all: services that act only while their node leads, and do not know each other.

Each is safe under two leaders all the same, because a leader can lose its lease in the middle of a statement.
"""
