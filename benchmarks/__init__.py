"""Speed and memory, as ratios that mean the same on every machine. Nothing here is part of the product."""
