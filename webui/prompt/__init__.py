"""Prompts as text: what is emphasised how much, and how tokens fall into chunks. No network is needed for any of it."""
