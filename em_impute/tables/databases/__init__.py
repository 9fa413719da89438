"""Databases as sources and targets: sessions of three kinds, and the exchange with them."""
