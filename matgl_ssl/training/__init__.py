"""Training on Lightning: pretraining, fine-tuning, and what makes them resume exactly."""
