"""The OpenAPI document at `/openapi.json`, and its parts."""
