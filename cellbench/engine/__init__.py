"""Training and scoring on mmengine."""
