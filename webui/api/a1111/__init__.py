"""A1111's API: its schemas, and the translation to and from the product's own words."""
