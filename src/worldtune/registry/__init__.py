"""Which adapter is live, what it was made from, who let it through on what evidence, and the way back."""
