"""Every option of a compression, declared once: the groups are files."""
