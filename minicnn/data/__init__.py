"""Data: FER2013 as people hold it, drawn faces, what is wrong with a data set, augmentation, and batches."""

from minicnn.data import augment
from minicnn.data.dataset import Dataset
from minicnn.data.fer2013 import load_fer2013
from minicnn.data.hygiene import audit, drop_duplicates
from minicnn.data.loader import Loader
from minicnn.data.synthetic import synthetic_faces

__all__ = ["Dataset", "Loader", "audit", "augment", "drop_duplicates", "load_fer2013", "synthetic_faces"]
