"""Model files made from model files: other layouts, precisions and formats, merges, and LoRAs from differences."""
