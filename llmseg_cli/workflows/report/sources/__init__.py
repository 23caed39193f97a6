"""Where a report gets its facts: run folders, logs, scores, tables of mining, scans and masks."""
