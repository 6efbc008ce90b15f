"""From texts to the language subspaces of all layers; `run` has the function `probe`."""
