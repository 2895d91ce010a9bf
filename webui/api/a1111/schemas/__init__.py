"""A1111 1.10's JSON, field for field: names, defaults and schema titles are what generated clients were built on."""
