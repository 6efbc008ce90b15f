"""Models whose right answers are known: a circuit, its weights, and what it must answer."""
