"""Files that commands write and read: schemas, journals, locks, manifests."""
