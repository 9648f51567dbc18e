"""Write datasets for other tools."""
