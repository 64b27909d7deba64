"""torchmetrics `Metric`s over pure functions."""
