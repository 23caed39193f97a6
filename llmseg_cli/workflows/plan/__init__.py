"""What `llmseg plan` does: looks at scans and machine, times steps, and writes the settings."""
