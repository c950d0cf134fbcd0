"""Whose address a connection has and which ports are ours."""
