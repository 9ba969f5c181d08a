"""Routes that are no protocol: the page, its files, the schema, and what every route shares."""
