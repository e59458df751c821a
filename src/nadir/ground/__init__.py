"""What every room may use: errors, files, progress events, the workspace and report pages."""
