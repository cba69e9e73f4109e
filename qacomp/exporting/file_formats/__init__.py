"""Collect the formats that decode writes; each file here registers one suffix."""
