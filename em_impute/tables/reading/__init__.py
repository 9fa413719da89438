"""From a source to a snapshot: files and folders in each format, and what is odd in them."""
