"""The controls, one file each, called as it is registered; the base is in `sweeps.control`."""
