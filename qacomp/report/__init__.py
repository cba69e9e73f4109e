"""What a compression did, as one HTML page that needs no network and no script, and as a notebook's summary."""
