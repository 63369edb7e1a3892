"""Training: supervised fine-tuning and DPO through TRL, and the base model they start from."""
