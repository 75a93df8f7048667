"""What weights alone say: products in the coordinates of the data, their patterns, and the steps that layers take."""

from workbench.weights.implied import Update, implied_updates, layer_weights
from workbench.weights.interpolation import interpolate, with_products
from workbench.weights.patterns import Pattern, patterns
from workbench.weights.products import Products, fold_fault, products
from workbench.weights.readings import Readings, reading_fault, readings
from workbench.weights.spectra import Spectra, spectra

__all__ = [
    "Pattern",
    "Products",
    "Readings",
    "Spectra",
    "Update",
    "fold_fault",
    "implied_updates",
    "interpolate",
    "layer_weights",
    "patterns",
    "products",
    "reading_fault",
    "readings",
    "spectra",
    "with_products",
]
