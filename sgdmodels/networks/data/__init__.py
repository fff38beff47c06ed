"""Data: scikit-learn digits, MNIST-5k, CIFAR-10, any .npz of images, and synthetic teachers."""

from .cifar import PUBLISHED_SCALING, cifar10
from .images import ImageData, digits, images_from_npz, mnist5k
from .teachers import Regression, gaussian_clusters, teacher_regression

__all__ = [
    "PUBLISHED_SCALING",
    "ImageData",
    "Regression",
    "cifar10",
    "digits",
    "gaussian_clusters",
    "images_from_npz",
    "mnist5k",
    "teacher_regression",
]
