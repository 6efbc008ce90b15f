"""Culture beyond accuracy: measures of the culture card, and what may be said of them."""
