"""From files to networks: what a model file is, what it holds, and where its weights live in memory."""
