"""A fleet in memory: builders of its objects, and a world in which plans are carried out."""
