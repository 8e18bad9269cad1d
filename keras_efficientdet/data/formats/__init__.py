"""Data formats, one file each: annotations on disk (or in memory) -> Source.

A reader is a function of a place and, if the format has splits, of a split and a label_map. It
returns a Source: images as `common.photo` makes them, with boxes in pixels (ymin, xmin, ymax,
xmax), clipped to the image, and {category id: name} in class order. It never drops or changes an
annotation silently: `photo` and the readers count every such case by a `Change` in
`Source.changes`. Whatever it cannot read is a DataError that names the file, the line or entry,
what was found and what was expected. It reads annotations only; `write_records` decodes the images.

To add a format that `read_folder` recognises, write its file and a row in `folder.FORMATS`; export
the reader in keras_efficientdet/__init__.py if it should be callable by itself.

The readers are our own, because the packages that read these formats (datumaro, supervision)
bring heavy dependencies and do not report what they dropped or changed.
"""
