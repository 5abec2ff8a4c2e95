"""How fast loading, training and predicting are on this machine, and what to change."""
