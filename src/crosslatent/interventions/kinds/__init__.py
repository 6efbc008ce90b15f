"""The kinds of interventions, one file each, called as it is registered."""
