"""The planted variants, one file each, called as it is registered; see `planted.planting`."""
