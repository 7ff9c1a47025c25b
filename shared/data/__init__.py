"""Sources, splits, batching and the feature cache."""
