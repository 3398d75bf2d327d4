"""Training the adapter on cached features while the backbone stays frozen."""
