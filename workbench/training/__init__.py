"""Training: configs, schedules and the loop."""
