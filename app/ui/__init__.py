"""The pages that people look at. Each carries its own assets: nothing is loaded from elsewhere."""
