"""What is doubtful about a policy, or does not agree in it, beyond what its model refuses."""
