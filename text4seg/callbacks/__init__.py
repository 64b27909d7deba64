"""What happens beside the training step: scores, pictures, resume."""
