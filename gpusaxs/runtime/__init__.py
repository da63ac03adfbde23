"""When each launch happens."""
