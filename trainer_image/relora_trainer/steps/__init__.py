"""The steps of the Jobs: one module each, with a function `run`. Importing one imports torch."""
