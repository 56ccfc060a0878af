"""Data sets: cards, splits, images, augmentation and the four protocols.

card.py      a data set's description, from datasets/*.toml
split.py     which images belong to train, val and test; few-shot sampling; base and new classes
readers.py   the split of a data set on disk, one reader a file format
images.py    image sets: clean pixels and augmented crops
task.py      load_task: what one cell trains on and is scored on
listing.py    does what a split file lists make sense?
inspection.py is what lies on disk what the card says?
download.py  fetching archives and unpacking them safely
"""
