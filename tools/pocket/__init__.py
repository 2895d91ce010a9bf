"""The pocket model: a Stable Diffusion small enough to be trained, shipped and run on two processor cores."""
