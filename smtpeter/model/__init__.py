"""The values that the rooms exchange: no behaviour beyond what a value knows of itself."""
