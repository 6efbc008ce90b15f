"""How a run of millions of rows is written, resumed, aggregated, exported and reported."""
