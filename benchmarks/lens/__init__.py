"""What Lens training costs, beside the released scheme re-created plainly."""
