"""The selectors, one file each, called as it is registered; the base is in `selectors.base`."""
