"""The HTTP edge: the gate in front of everything, A1111's API and the product's own."""
