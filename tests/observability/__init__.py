"""What the chart's alerts and dashboard ask of the operator's metrics."""
