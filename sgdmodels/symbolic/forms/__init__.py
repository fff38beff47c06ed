"""Derivations: one function derives one closed form, proves it, and brings an independent route to its value."""
