"""Real weights, data and adapters for the demo, the end-to-end tests and the bench.

Every product is built once from pinned inputs and kept in the cache folder, under a key of its recipe.
``python -m realdata --help`` builds them; ``realdata.products`` names them.
"""
