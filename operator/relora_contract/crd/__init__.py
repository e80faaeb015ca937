"""From pydantic models to CustomResourceDefinitions."""
