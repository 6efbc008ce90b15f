"""The methods, one file each, called as it is registered; the base is in `methods.method`."""
