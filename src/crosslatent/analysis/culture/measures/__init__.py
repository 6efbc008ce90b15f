"""The measures of the culture card, one file each."""
