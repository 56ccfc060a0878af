"""Data sets: cards, splits, images, augmentation and the four protocols.

card.py        a data set's description, from datasets/*.toml
split.py       which images belong to train, val and test; few-shot sampling; base and new classes
readers.py     reads the split of a data set on disk; one reader per file format
listing.py     checks whether the contents of a split file make sense
texts.py       which texts a tokenizer cuts, or cannot tell apart
images.py      image sets: clean pixels and augmented crops
dataset.py     a data set opened for reading: rendered, or from files
task.py        load_task: what one cell trains on and is scored on
inspection.py  compares the files on disk with the card
download.py    downloads archives and unpacks them safely
svhn.py        converts SVHN's own format into image files
crop.py        random crops and flips, as tensors
"""
