"""The steps of the catalog's schema, in order; `app.catalog.migrate` runs them."""
