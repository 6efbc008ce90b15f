"""What Lens does to the shipped model, beside steering, fine-tuning and a transplant."""
