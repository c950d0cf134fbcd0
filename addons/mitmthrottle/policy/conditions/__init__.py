"""The conditions of a rule, a module each."""
