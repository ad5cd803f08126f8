"""What people read, as queries over what the pipeline wrote. Nothing here changes a row."""
