"""Ways to get a better answer in another language, each one file in `kinds`, for `compare`."""
