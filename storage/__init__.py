"""Where things are: settings, ids, schemas, shards, blobs, the catalog."""
