"""Data sets of any format, as TFRecords and as batches."""
