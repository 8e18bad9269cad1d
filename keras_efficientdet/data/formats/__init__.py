"""Data formats, one file each: annotations on disk -> records.Source."""
