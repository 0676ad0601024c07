"""Networks, and how they are trained and evaluated."""
