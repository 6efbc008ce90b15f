"""What is changed in a forward: where, by what, on which tokens, and where the values come from."""
