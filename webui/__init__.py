"""Easel: a Stable Diffusion web UI whose server never loads a network and whose worker never loses a job."""

__version__ = "0.1.0"
