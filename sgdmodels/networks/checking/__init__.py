"""What a network, a loss and data must be to be measured, found out before any work."""
