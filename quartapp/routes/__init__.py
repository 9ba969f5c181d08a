"""The routes next to the protocols: the page, its files, the schema, 404 and 405; and the code all routes share."""
