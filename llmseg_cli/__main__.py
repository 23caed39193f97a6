"""`python -m llmseg_cli`."""

from llmseg_cli.cli import main

main()
