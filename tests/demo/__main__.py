"""Run the demonstration: `python -m demo up`, `python -m demo down`."""

from demo.cli import main

main()
