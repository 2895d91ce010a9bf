"""What extensions may do, and how they are found."""
