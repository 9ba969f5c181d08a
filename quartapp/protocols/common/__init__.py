"""The code of requests and responses that several protocols share."""
