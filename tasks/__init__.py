"""What is done to one shard: rows and files in, rows and files out, wherever it runs."""
