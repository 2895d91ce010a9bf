"""Where networks will compute and what that takes, before anything is placed. Torch is not needed."""
