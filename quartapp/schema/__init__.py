"""What the doors take and give, told in OpenAPI: the document at `/openapi.json`.

Order inside this folder: bodies, parts, components, operations, document, listing.
"""
