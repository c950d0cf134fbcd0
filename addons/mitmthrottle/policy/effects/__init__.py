"""The effects of a rule, a module each."""
