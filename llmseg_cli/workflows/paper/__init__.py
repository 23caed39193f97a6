"""What `llmseg paper` does: tables of scores, and methods, references and cards of runs."""
