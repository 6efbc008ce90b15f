"""The command line: parses arguments, calls down, prints. No science, and no torch until it is used."""
