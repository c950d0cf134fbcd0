"""What an operator gives the running proxy: options, commands, the policy file and its reload."""
