"""The command line: parses arguments, calls down, prints. No science; no torch until it is used."""
