"""What every room shares: errors, settings, logs."""
