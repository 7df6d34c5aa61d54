"""One reader per format. Each yields the items of one input in order and raises `InputError` with file and line."""
