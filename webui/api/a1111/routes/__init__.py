"""A1111's API under its own paths and operation ids. What the product cannot do is not here: 404 Not Found."""
